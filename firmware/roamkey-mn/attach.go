package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"syscall"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/firmware/mobilenode"
)

func attach(ctx context.Context, args []string, out, errs io.Writer) error {
	cfg := mobilenode.Config{Events: out}
	f, parse := flags("attach", "attach by an interface and follow it", errs)
	f.StringVar(&cfg.Interface, "interface", "", "network interface, Ethernet or Wi-Fi (needed)")
	f.StringVar((*string)(&cfg.Protocol), "protocol", string(mobilenode.LKE), "lke (Local Key Exchange), or handover-key: SEND, handover\nkeys and fast handovers")
	f.TextVar(&cfg.HomeAgent, "home-agent", netip.Addr{}, "address of the home agent, to register with first")
	f.TextVar(&cfg.HomeAddress, "home-address", netip.Addr{}, "the node's address at home; needed with -home-agent")
	f.BoolVar(&cfg.Plain, "plain", false, "no Local Key Exchange, with any router")
	f.DurationVar(&cfg.Lifetime, "lifetime", 0, "lifetime to ask for, of keys and bindings (default: the most)")
	f.IntVar(&cfg.MinBits, "min-bits", 1024, "least length of a router's RSA key")
	f.BoolVar(&cfg.OAEP, "oaep", false, "pad keys as OAEP says (routers: option padding 'oaep')")
	f.BoolVar(&cfg.SecuredOnly, "secured-only", false, "handover-key: listen to nobody who does not sign")
	f.StringVar(&cfg.Anchors, "anchors", "", "handover-key: file with the certificates of those who say\nwhich routers there are; without it any router is believed")
	f.StringVar(&cfg.SendKey, "send-key", "", "handover-key: file of the key that the node's addresses\nfollow from, made if missing (default: a key for this run)")
	f.IntVar(&cfg.Sec, "sec", 1, "handover-key: strength of these addresses, 0 or 1")
	f.StringVar((*string)(&cfg.Tunnel), "tunnel", string(forward.Auto), "who unpacks what is tunnelled: kernel, tun, or auto")
	f.StringVar(&cfg.Control, "control", "", "path of the control socket, instead of\n"+mobilenode.ControlPath("INTERFACE"))
	f.BoolVar(&cfg.JSON, "status-json", false, "tell what happens in lines of JSON")
	f.Func("codepoints", "other numbers than the draft's: name=number, with commas\n"+
		"between; named as in roamkeyd's settings: finished=10", func(text string) (err error) {
		cfg.CodePoints, cfg.NDCodePoints, err = mobilenode.ParseCodePoints(text)
		return err
	})
	if err := parse(args); err != nil {
		return err
	}
	n, err := mobilenode.Open(cfg)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w: run it as root (it needs CAP_NET_ADMIN and CAP_NET_RAW)", err)
		}
		return err
	}
	return n.Run(ctx)
}

// socketFlags are the options of commands that ask the node that is attached. more, if not nil, adds others.
func socketFlags(name, about string, args []string, errs io.Writer, more func(*flag.FlagSet)) (device, path string, asJSON bool, err error) {
	f, parse := flags(name, about, errs)
	if more != nil {
		more(f)
	}
	f.StringVar(&device, "interface", "", "network interface that the node is attached by (needed)")
	f.StringVar(&path, "control", "", "path of the node's control socket")
	f.BoolVar(&asJSON, "json", false, "answer in JSON")
	if err = parse(args); err != nil {
		return
	}
	if device == "" && path == "" {
		fmt.Fprintf(errs, "roamkey-mn %s: say which -interface\n", name)
		err = errUsage
		return
	}
	if path == "" {
		path = mobilenode.ControlPath(device)
	}
	return
}

// nobody reports whether there is no node behind the control socket.
func nobody(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func status(ctx context.Context, args []string, out, errs io.Writer) error {
	device, path, asJSON, err := socketFlags("status", "what the node that is attached has", args, errs, nil)
	if err != nil {
		return err
	}
	s, err := mobilenode.Request(ctx, path, false, nil)
	if nobody(err) {
		return fmt.Errorf("no node is attached by %s (nobody listens on %s)", device, path)
	}
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(out).Encode(s)
	}
	_, err = fmt.Fprint(out, s)
	return err
}

func move(ctx context.Context, args []string, out, errs io.Writer) error {
	var predictive, reactive bool
	var point string
	device, path, asJSON, err := socketFlags("move", "the link is another one, or is going to be", args, errs, func(f *flag.FlagSet) {
		f.BoolVar(&predictive, "predictive", false, "prepare for an access point; when that is done (exit code 0)\nthe node may leave")
		f.BoolVar(&reactive, "reactive", false, "the node is there already (this is the default)")
		f.StringVar(&point, "access-point", "", "link-layer address (BSSID) of the access point; needed with\n-predictive")
	})
	if err != nil {
		return err
	}
	usage := func(text string) error {
		fmt.Fprintf(errs, "roamkey-mn move: %s\n", text)
		return errUsage
	}
	switch {
	case predictive && reactive:
		return usage("either -predictive or -reactive")
	case predictive && point == "":
		return usage("-predictive needs an -access-point")
	case !predictive && point != "":
		return usage("-access-point goes with -predictive")
	}
	lines := json.NewEncoder(out)
	tell := func(l mobilenode.Line) {
		if asJSON {
			_ = lines.Encode(l)
			return
		}
		fmt.Fprintln(out, l)
	}
	if predictive {
		return prepare(ctx, device, path, point, usage, tell)
	}
	s, err := mobilenode.Request(ctx, path, true, tell)
	switch {
	case nobody(err) && device != "":
		return detect(ctx, device, out, asJSON)
	case err != nil:
		return err
	case asJSON:
		return lines.Encode(s)
	}
	_, err = fmt.Fprint(out, s)
	return err
}

// prepare has the node that is attached prepare a move.
func prepare(ctx context.Context, device, path, point string, usage func(string) error, tell func(mobilenode.Line)) error {
	a, err := mobilenode.ParsePoint(point)
	if err != nil {
		return usage(err.Error())
	}
	_, err = mobilenode.Prepare(ctx, path, a, tell)
	if nobody(err) {
		return fmt.Errorf("no node is attached by %s (nobody listens on %s)", device, path)
	}
	return err
}

// detect looks once which router the link has, where no node is attached.
func detect(ctx context.Context, device string, out io.Writer, asJSON bool) error {
	found, err := mobilenode.Detect(ctx, device)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(out).Encode(found)
	}
	_, err = fmt.Fprint(out, found)
	return err
}
