"""Results to try conversions on: one by hand that says everything, and any (hypothesis)."""

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import settings
from hypothesis import strategies as st

from cni.result import DNS, IP, Interface, Result, Route

FULL = Result(
    interfaces=(
        Interface("veth1", "0a:00:00:00:00:01", mtu=1400),
        Interface("eth0", "0a:00:00:00:00:02", "/run/netns/pod", 1400, "/run/s.sock", "0000:00:1"),
    ),
    ips=(
        IP(ip_interface("10.1.2.3/24"), ip_address("10.1.2.1"), 1),
        IP(ip_interface("fd00::3/64"), None, 0),
        IP(ip_interface("10.9.9.9/32")),
    ),
    routes=(
        Route(ip_network("0.0.0.0/0"), ip_address("10.1.2.1"), 1300, 1260, 50, 100, 253),
        Route(ip_network("fd00:1::/32")),
        Route(ip_network("10.0.0.0/8"), table=0, scope=0),
    ),
    dns=DNS(("192.0.2.1", "fd00::53"), "example.com", ("a.example", "b.example"), ("ndots:5",)),
)

NUMBER = st.integers(0, (1 << 32) - 1)
TEXT = st.text(max_size=20)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
INTERFACES = st.builds(
    Interface, name=TEXT, mac=TEXT, sandbox=TEXT, mtu=NUMBER, socket_path=TEXT, pci_id=TEXT
)
IPS = st.one_of(
    *(
        st.builds(
            IP,
            address=st.tuples(addresses, st.integers(0, bits)).map(ip_interface),
            gateway=st.none() | addresses,
            interface=st.none() | st.integers(0, 9),
        )
        for addresses, bits in ((st.ip_addresses(v=4), 32), (st.ip_addresses(v=6), 128))
    )
)
NETWORKS = IPS.map(lambda ip: ip.address.network)
ROUTES = st.builds(
    Route,
    dst=NETWORKS,
    gw=st.none() | st.ip_addresses(),
    mtu=NUMBER,
    advmss=NUMBER,
    priority=NUMBER,
    table=st.none() | NUMBER,
    scope=st.none() | st.integers(0, 255),
)
RESULTS = st.builds(
    Result,
    interfaces=st.lists(INTERFACES, max_size=3).map(tuple),
    ips=st.lists(IPS, max_size=4).map(tuple),
    routes=st.lists(ROUTES, max_size=4).map(tuple),
    dns=st.builds(DNS, nameservers=TEXTS, domain=TEXT, search=TEXTS, options=TEXTS),
)
EXAMPLES = settings(max_examples=60, deadline=None)
