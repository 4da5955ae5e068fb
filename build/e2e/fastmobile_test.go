package e2e

import (
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
)

// air puts a network between both links on which a node's port can be moved from one to the other. Nothing is heard by the
// stations of the cells from then on.
func (f *fastWorld) air() (air, node *netlab.Namespace) {
	f.t.Helper()
	air, node = f.par.namespace("air"), f.par.namespace("node")
	check(f.t, air.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1"))
	bridge := func(ns *netlab.Namespace, name string) {
		check(f.t, ns.Bridge(name))
		check(f.t, ns.Set("/sys/class/net/"+name+"/bridge/multicast_snooping", "0"))
	}
	for name, w := range map[string]*secureWorld{"one": f.par, "two": f.nar} {
		bridge(w.cell, "br0")
		check(f.t, w.cell.SetMaster("cell0", "br0"))
		check(f.t, w.lab.Veth(netlab.End{NS: w.cell, Name: "air0"}, netlab.End{NS: air, Name: "to-" + name}))
		check(f.t, w.cell.SetMaster("air0", "br0"))
		bridge(air, name)
		check(f.t, air.SetMaster("to-"+name, name))
	}
	check(f.t, f.par.lab.Veth(netlab.End{NS: node, Name: "radio0"}, netlab.End{NS: air, Name: "port"}))
	check(f.t, air.SetMaster("port", "one"))
	return air, node
}

// TestRealNode is roamkey-mn that listens to nobody who does not sign, between two routers that do not either: it finds the
// router's certificate, gets its key, and moves without losing anything; then it goes back, and asks from where it is.
func TestRealNode(t *testing.T) {
	t.Parallel()
	f := newFastWorld(t, "only")
	air, node := f.air()
	dir := f.par.options.Dir
	anchors := filepath.Join(dir, "anchors.pem")
	check(t, os.WriteFile(anchors, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.par.anchor.Certificate.Raw}), 0o644))
	log, err := os.Create(filepath.Join(dir, "mn.log"))
	check(t, err)
	t.Cleanup(func() {
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the node says:\n%s", text)
		}
		log.Close()
	})
	socket := filepath.Join(dir, "mn.sock")
	mobile, err := node.Start(netlab.Command{Path: built.mobile, Log: log, Out: log, Args: []string{
		"attach", "-interface", "radio0", "-protocol", "handover-key", "-secured-only", "-anchors", anchors, "-sec", "0", "-tunnel", "tun", "-control", socket,
	}})
	check(t, err)

	s := f.par.await("the node's handover key", func(s control.Snapshot) bool { return s.Fast.Keys == 1 })
	home := s.Fast.KeyList[0].Home

	var mu sync.Mutex
	came := make(map[int]int)
	var ears *net.UDPConn
	check(t, node.Do(func() (err error) {
		ears, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Unspecified(), nodePort)))
		return err
	}))
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 100)
		for {
			n, _, err := ears.ReadFromUDP(buf)
			if err != nil {
				return
			}
			i, _ := strconv.Atoi(string(buf[:n]))
			mu.Lock()
			came[i]++
			mu.Unlock()
		}
	})
	t.Cleanup(func() { ears.Close(); reader.Wait() })
	p := f.par.peer()
	sent, stop := 0, make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for ; ; sent++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			_, _ = p.conn.WriteToUDPAddrPort([]byte(strconv.Itoa(sent)), netip.AddrPortFrom(home, nodePort))
		}
	})
	arrived := func() int { mu.Lock(); defer mu.Unlock(); return len(came) }
	flows := func() {
		t.Helper()
		from := arrived()
		eventually(t, "datagrams at the node", func() bool { return arrived() > from+50 })
	}
	flows()

	if out, err := node.Run(5*time.Second, built.mobile, "move", "-predictive", "-access-point", ipv6.LinkAddr(narPoint).String(), "-control", socket); err != nil {
		t.Fatalf("prepare the move: %s, %v", out, err)
	}
	if bindingOf(f.par.snapshot(), home) == nil {
		t.Error("the move is prepared, and nothing is forwarded")
	}
	_, _, err = air.Replug("port", "two", 30*time.Millisecond)
	check(t, err)
	f.nar.await("the node's announcement, and its key here", func(s control.Snapshot) bool {
		return s.Counters["fmip"]["announcements_taken"] == 1 && s.Fast.Keys == 1
	})
	flows()
	if got := f.nar.snapshot(); len(got.Fast.Held) != 0 || got.Counters["fmip"]["announce_not_secured"] != 0 {
		t.Errorf("the new router keeps %+v", got.Fast.Held)
	}
	close(stop)
	writer.Wait()
	eventually(t, "all datagrams", func() bool { return arrived() >= sent })
	mu.Lock()
	for i := range sent {
		if came[i] == 0 {
			t.Errorf("datagram %d of %d was lost", i, sent)
		}
	}
	mu.Unlock()

	// Back without a word: it finds its first router again, and ends the forwarding there.
	_, _, err = air.Replug("port", "one", 30*time.Millisecond)
	check(t, err)
	f.par.await("no binding, and the key", func(s control.Snapshot) bool { return bindingOf(s, home) == nil && keyOf(s, home) != nil })
	if out, err := node.Run(5*time.Second, built.mobile, "status", "-control", socket); err != nil || !strings.Contains(out, home.String()) {
		t.Errorf("the node's status: %v\n%s", err, out)
	}
	check(t, mobile.Stop(5*time.Second))
}
