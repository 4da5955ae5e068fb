// Capture has tshark judge the demo's capture: checksums, router advertisements, binding updates and acknowledgements, and the
// messages of fast handovers, as somebody else reads them. What tshark 4.0 cannot judge is named here, and nothing else is tolerated.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: capture FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "capture:", err)
		os.Exit(1)
	}
}

// columns are what is read of each frame.
var columns = []string{
	"frame.number", "_ws.malformed", "icmpv6.type", "icmpv6.checksum.status", "icmpv6.opt.type", "udp.checksum.status", "mip6.mhtype",
	"icmpv6.nd.ra.flag.h", "icmpv6.opt.prefix.flag.r", "mip6.bu.a_flag", "mip6.bu.h_flag", "mip6.bu.seqnr", "mip6.ba.status", "mip6.ba.seqnr",
	"ipv6.opt.mipv6.home_address", "ipv6.routing.mipv6.home_address", "_ws.expert.group",
}

func allColumns() []string { return append(slices.Clone(columns), fastColumns...) }

// frame is one frame as tshark reads it. A field that occurs more than once has its values joined by commas.
type frame map[string]string

func (f frame) has(column, value string) bool {
	for _, v := range strings.Split(f[column], ",") {
		if v == value {
			return true
		}
	}
	return false
}

func (f frame) malformed() bool {
	const group = "117440512" // PI_MALFORMED, as tshark prints it
	return f["_ws.malformed"] != "" || f.has("_ws.expert.group", group)
}

func read(path string) ([]frame, error) {
	args := []string{"-r", path, "-o", "udp.check_checksum:TRUE", "-T", "fields", "-E", "separator=|"}
	columns := allColumns()
	for _, c := range columns {
		args = append(args, "-e", c)
	}
	tshark := exec.Command("tshark", args...)
	var said strings.Builder // it warns of being run by root, which does not matter unless it fails
	tshark.Stderr = &said
	out, err := tshark.Output()
	if err != nil {
		return nil, fmt.Errorf("tshark: %w: %s", err, said.String())
	}
	var frames []frame
	for line := range strings.Lines(string(out)) {
		f := make(frame, len(columns))
		for i, v := range strings.Split(strings.TrimSuffix(line, "\n"), "|") {
			f[columns[i]] = v
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// Numbers that LKE shares with others, which tshark takes for theirs.
const (
	routerAdvert    = "134"
	neighborSolicit = "135"
	neighborAdvert  = "136"
	bindingUpdate   = "5"
	bindingAck      = "6"
	keyRequest      = "8"
	keyAck          = "9"
	finished        = "10"
)

// tolerated reports whether tshark's verdict on a frame comes of reading LKE's numbers as somebody else's: option 6 of a
// router advertisement (NBMA Shortcut Limit), 7 of a solicitation, 8 of an advertisement, option 6 of an acknowledgement
// (Mobile Network Prefix), and the three messages themselves (fast handovers').
func tolerated(f frame) bool {
	switch {
	case f.has("icmpv6.type", routerAdvert):
		return f.has("icmpv6.opt.type", "6")
	case f.has("icmpv6.type", neighborSolicit):
		return f.has("icmpv6.opt.type", "7")
	case f.has("icmpv6.type", neighborAdvert):
		return f.has("icmpv6.opt.type", "8")
	case toleratedFast(f):
		return true
	}
	switch f["mip6.mhtype"] {
	case keyRequest, keyAck:
		return f.has("ipv6.hlim", localHopLimit) // otherwise they are those of fast handovers
	case bindingAck, finished:
		return true
	}
	return false
}

func run(path string) error {
	frames, err := read(path)
	if err != nil {
		return err
	}
	var errs []error
	fail := func(f frame, format string, args ...any) {
		errs = append(errs, fmt.Errorf("frame %s: "+format, append([]any{f["frame.number"]}, args...)...))
	}
	count := make(map[string]int)
	updates := make(map[string]frame)
	fast := newFastJudge(count, fail)
	for _, f := range frames {
		fast.judge(f)
		if f.malformed() && !tolerated(f) {
			fail(f, "tshark calls it malformed")
		}
		if v := f["icmpv6.checksum.status"]; v != "" {
			count["ICMPv6 checksums"]++
			if v != "1" {
				fail(f, "ICMPv6 checksum is wrong")
			}
		}
		if v := f["udp.checksum.status"]; v != "" {
			count["UDP checksums"]++
			if v != "1" {
				fail(f, "UDP checksum is wrong")
			}
		}
		switch {
		case f.has("icmpv6.type", routerAdvert):
			// A final advertisement names no home agent any more, and so has no key either (LKE-AR-2).
			if f["icmpv6.nd.ra.flag.h"] != "1" && f.has("icmpv6.opt.type", "6") {
				fail(f, "a router advertisement has the LKE capability without the H bit")
			}
			if f["icmpv6.nd.ra.flag.h"] == "1" && f.has("icmpv6.opt.type", "6") && f["icmpv6.opt.prefix.flag.r"] == "1" {
				count["router advertisements with H, R and a key"]++
			}
		case f["mip6.mhtype"] == bindingUpdate:
			count["binding updates"]++
			if f["mip6.bu.a_flag"] != "1" || f["mip6.bu.h_flag"] != "1" || f["ipv6.opt.mipv6.home_address"] == "" {
				fail(f, "a binding update lacks A, H or its home address")
			}
			updates[f["mip6.bu.seqnr"]] = f
		case f["mip6.mhtype"] == bindingAck:
			count["binding acknowledgements"]++
			update, ok := updates[f["mip6.ba.seqnr"]]
			switch {
			case !ok:
				fail(f, "a binding acknowledgement answers no update that was seen")
			case f["mip6.ba.status"] != "0":
				fail(f, "a binding update was refused with status %s", f["mip6.ba.status"])
			case f["ipv6.routing.mipv6.home_address"] != update["ipv6.opt.mipv6.home_address"]:
				fail(f, "the acknowledgement is for %s, the update was for %s", f["ipv6.routing.mipv6.home_address"], update["ipv6.opt.mipv6.home_address"])
			}
		}
	}
	for _, what := range append([]string{
		"ICMPv6 checksums", "UDP checksums", "router advertisements with H, R and a key", "binding updates", "binding acknowledgements",
	}, fastCounts...) {
		fmt.Printf("capture: %6d %s\n", count[what], what)
		if count[what] == 0 {
			errs = append(errs, fmt.Errorf("no %s in %s: nothing was judged", what, path))
		}
	}
	n, bad := checksums(path)
	fmt.Printf("capture: %6d mobility header checksums (tshark does not check them)\n", n)
	errs = append(errs, bad...)
	if n == 0 {
		errs = append(errs, errors.New("no mobility headers were read"))
	}
	return errors.Join(errs...)
}
