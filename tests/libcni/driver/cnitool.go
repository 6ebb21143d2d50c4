package main

import (
	"context"
	"crypto/sha512"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

// cnitool has the arguments, environment, container ID and output of the cnitool of libcni 1.1,
// which Debian does not package:
//
//	cnitool add|check|del NETWORK NETNS
//
// CNI_PATH; NETCONFPATH (default /etc/cni/net.d); CNI_IFNAME (default eth0); CAP_ARGS; CNI_ARGS.
func cnitool() {
	if len(os.Args) != 4 {
		refuse(fmt.Errorf("usage: cnitool add|check|del NETWORK NETNS"))
	}
	netns, err := filepath.Abs(os.Args[3])
	refuse(err)
	list, err := libcni.LoadConfList(setting("NETCONFPATH", "/etc/cni/net.d"), os.Args[2])
	refuse(err)

	sum := sha512.Sum512([]byte(netns))
	rt := libcni.RuntimeConf{
		ContainerID: fmt.Sprintf("cnitool-%x", sum[:10]),
		NetNS:       netns,
		IfName:      setting("CNI_IFNAME", "eth0"),
	}
	refuse(pass(&rt, os.Getenv("CAP_ARGS"), os.Getenv("CNI_ARGS")))

	cni, ctx := libcni.NewCNIConfig(filepath.SplitList(os.Getenv("CNI_PATH")), nil), context.Background()
	switch os.Args[1] {
	case "add":
		result, err := cni.AddNetworkList(ctx, list, &rt)
		refuse(err)
		refuse(result.Print())
	case "check":
		refuse(cni.CheckNetworkList(ctx, list, &rt))
	case "del":
		refuse(cni.DelNetworkList(ctx, list, &rt))
	default:
		refuse(fmt.Errorf("unknown verb %q", os.Args[1]))
	}
}

// setting returns an environment variable, or otherwise if it is empty.
func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// refuse prints err on stderr and ends the program with 1; a nil err does nothing.
func refuse(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
