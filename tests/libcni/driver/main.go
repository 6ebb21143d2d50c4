// Driver calls the reference runtime library (libcni) as a container runtime does.
//
//	driver add|check|del [flags] CONFLIST
//	driver validate CONFLIST
//	driver version TYPE...
//
// The programs are looked for in CNI_PATH. It prints one JSON document and exits 0 or 1.
// Called by the name of cnitool, it has the command line of cnitool instead (cnitool.go).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// document is what the driver prints; what does not belong to the verb is left out.
type document struct {
	Result       types.Result            `json:"result,omitempty"`       // add: in the version asked for
	As           map[string]types.Result `json:"as,omitempty"`           // add: in every version of this libcni
	Unconverted  map[string]string       `json:"unconverted,omitempty"`  // add: why a version is not in `as`
	Capabilities []string                `json:"capabilities,omitempty"` // validate
	Versions     map[string][]string     `json:"versions,omitempty"`     // version: by program
	Error        string                  `json:"error,omitempty"`        // the text that a runtime shows
	Code         uint                    `json:"code,omitempty"`         // these three: a program's refusal
	Msg          string                  `json:"msg,omitempty"`
	Details      string                  `json:"details,omitempty"`
}

func main() {
	if filepath.Base(os.Args[0]) == "cnitool" {
		cnitool()
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: driver add|check|del|validate|version [flags] CONFLIST|TYPE...")
		os.Exit(2)
	}
	done, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		done = document{Error: err.Error()}
		var refusal *types.Error
		if errors.As(err, &refusal) {
			done.Code, done.Msg, done.Details = refusal.Code, refusal.Msg, refusal.Details
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if encoder.Encode(done) != nil || err != nil {
		os.Exit(1)
	}
}

// run does what the command line asks for; words are the flags and what follows them.
func run(verb string, words []string) (document, error) {
	var done document
	var rt libcni.RuntimeConf
	flags := flag.NewFlagSet("driver", flag.ExitOnError)
	flags.StringVar(&rt.ContainerID, "id", "pod-1", "container ID")
	flags.StringVar(&rt.NetNS, "netns", "", "path of the pod's network namespace")
	flags.StringVar(&rt.IfName, "ifname", "eth0", "the interface in the pod")
	cache := flags.String("cache", "", "libcni's cache directory; its own default without")
	capabilities := flags.String("capabilities", "", "capability arguments, a JSON object")
	arguments := flags.String("args", "", "CNI_ARGS, as K=V;K=V")
	_ = flags.Parse(words) // it exits by itself when it cannot

	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Getenv("CNI_PATH")), *cache, nil)
	if verb == "version" {
		var err error
		done.Versions, err = versions(cni, flags.Args())
		return done, err
	}
	list, err := libcni.ConfListFromFile(flags.Arg(0))
	if err == nil {
		err = pass(&rt, *capabilities, *arguments)
	}
	if err != nil {
		return done, err
	}

	ctx := context.Background()
	switch verb {
	case "add":
		done.Result, err = cni.AddNetworkList(ctx, list, &rt)
		if err == nil {
			done.As, done.Unconverted = convert(done.Result)
		}
	case "check":
		err = cni.CheckNetworkList(ctx, list, &rt)
	case "del":
		err = cni.DelNetworkList(ctx, list, &rt)
	case "validate":
		done.Capabilities, err = cni.ValidateNetworkList(ctx, list)
		sort.Strings(done.Capabilities)
	default:
		err = fmt.Errorf("unknown verb %q", verb)
	}
	return done, err
}

// pass puts the capability arguments (JSON) and CNI_ARGS pairs into rt; either may be empty.
func pass(rt *libcni.RuntimeConf, capabilities, arguments string) error {
	if capabilities != "" {
		if err := json.Unmarshal([]byte(capabilities), &rt.CapabilityArgs); err != nil {
			return fmt.Errorf("cannot read the capability arguments: %w", err)
		}
	}
	if arguments == "" {
		return nil
	}
	for _, pair := range strings.Split(arguments, ";") {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("invalid CNI_ARGS pair %q", pair)
		}
		rt.Args = append(rt.Args, [2]string{key, value})
	}
	return nil
}

// convert returns result in every version that this libcni knows, or why it cannot be.
func convert(result types.Result) (map[string]types.Result, map[string]string) {
	as, unconverted := map[string]types.Result{}, map[string]string{}
	for _, wanted := range version.All.SupportedVersions() {
		converted, err := result.GetAsVersion(wanted)
		if err != nil {
			unconverted[wanted] = err.Error()
			continue
		}
		as[wanted] = converted
	}
	return as, unconverted
}

// versions asks each program for the versions of the SPEC that it speaks.
func versions(cni *libcni.CNIConfig, programs []string) (map[string][]string, error) {
	spoken := map[string][]string{}
	for _, program := range programs {
		info, err := cni.GetVersionInfo(context.Background(), program)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", program, err)
		}
		spoken[program] = info.SupportedVersions()
	}
	return spoken, nil
}
