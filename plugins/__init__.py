"""Interface and chained programs, one file a type."""
