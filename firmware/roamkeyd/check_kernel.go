package main

import (
	"errors"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
)

// tunPath is the device of the TUN backend.
const tunPath = "/dev/net/tun"

// kernelFacts is what the kernel gave when it was asked for what run needs.
type kernelFacts struct {
	unknown error        // why it could not be tried; nil if it was
	guard   error        // why there is no nftables table
	forward error        // why there is no forwarding
	info    forward.Info // what there is, otherwise
	noTUN   bool         // the device file of TUN is missing
}

// probeKernel does what run does for a tunnel, in a network namespace of its own that ends with it. Nothing of this machine's
// network is touched.
func probeKernel(tunnel string) kernelFacts {
	var facts kernelFacts
	_, err := os.Stat(tunPath)
	facts.noTUN = errors.Is(err, fs.ErrNotExist)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
		if facts.unknown = unix.Unshare(unix.CLONE_NEWNET); facts.unknown != nil {
			return
		}
		g, err := guard.Open()
		if facts.guard = err; err == nil {
			defer g.Close(false)
		}
		f, err := forward.Open(forward.Config{Backend: forward.Backend(tunnel)}, g)
		if facts.forward = err; err == nil {
			facts.info = f.Describe()
			f.Close(false)
		}
	}()
	<-done
	return facts
}

// kernel tells what the kernel lacks.
func (r *report) kernel(tunnel string, facts kernelFacts) {
	if facts.unknown != nil {
		r.note("what the kernel has for tunnels and filters is not known: run check as root")
		if facts.noTUN && tunnel == "tun" {
			r.error("the kernel has no TUN (there is no %s): install kmod-tun, or set tunnel 'kernel'", tunPath)
		}
		return
	}
	if facts.guard != nil {
		r.warning("%v: the kernel may answer messages that are for roamkeyd, and a tunnel takes packets from anybody: install kmod-nft-core", facts.guard)
	}
	if facts.forward != nil {
		r.error("no tunnel can be made (option tunnel '%s'): %v: install kmod-ip6-tunnel or kmod-tun", tunnel, facts.forward)
		return
	}
	for _, reason := range facts.info.Reasons {
		r.warning("tunnel: %s", reason)
	}
	if facts.info.Backend == forward.TUN && tunnel == "auto" {
		r.warning("packets follow nodes through the daemon itself (TUN), which is slower, and pauses while it restarts: install kmod-ip6-tunnel, or set tunnel 'tun' if that is meant")
	}
}
