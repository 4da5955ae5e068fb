package e2e

import (
	"bytes"
	"crypto/rsa"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// TestHandoverKey asks for handover keys in every way, and uses one over a crash and an upgrade.
func TestHandoverKey(t *testing.T) {
	t.Parallel()
	w := newSecureWorld(t, "mixed", keys[0](), "list access_point '02:00:00:00:aa:01'")
	w.withFar("none")
	w.start()
	r := w.fastRouter()
	n := w.sendNode(keys[5](), true)
	n.pair = keys[6]()

	m, reply := n.askKey(r, 0, n.pair, farPoint)
	// HK-AR-5, HK-AR-7, HK-AR-8
	if len(n.handover) != 20 || reply.AT != 0 || reply.Lifetime > 43200 || reply.Lifetime < 43190 {
		t.Errorf("key of %d octets, AT %d, lifetime %d", len(n.handover), reply.AT, reply.Lifetime)
	}
	// RFC 5568 section 6.1.2: what stands behind the access point.
	if m.Tuples.Len() != 1 || m.Tuples.At(0).Code != ndp.PointNew || m.Tuples.At(0).Point != farPoint || m.Tuples.At(0).Router != farRouter ||
		m.Tuples.At(0).RouterLink != farLink || m.Tuples.At(0).NetPrefix() != farNet {
		t.Errorf("proxy advertisement %+v", m)
	}
	first := n.handover
	s := w.await("the key in the status", func(s control.Snapshot) bool { return keyOf(s, n.Home) != nil })
	if k := keyOf(s, n.Home); k.AT != 0 || s.Fast.Keys != 1 {
		t.Errorf("HK-AR-12: status tells of %+v", k)
	}

	t.Run("asked again", func(t *testing.T) {
		w.as(t)
		// HK-AR-4, HK-AR-19, HK-resolution-i: the same key, whatever it is encrypted for.
		before, _ := w.status()
		for _, pair := range []*rsa.PrivateKey{n.pair, keys[7]()} {
			if n.askKey(r, 0, pair); !bytes.Equal(n.handover, first) {
				t.Error("HK-AR-4: another key")
			}
		}
		after := w.moved(before, "the keys", map[string]int64{"handoverkey/keys_given_again": 2})
		if got := changes(before, after)["handoverkey/keys_made"]; got != 0 {
			t.Errorf("%d keys were made", got)
		}
	})
	t.Run("stronger algorithm", func(t *testing.T) {
		w.as(t)
		// HK-resolution-j: a key that is too weak is replaced; one that is stronger stays.
		other := w.sendNode(keys[8](), true)
		defer other.attach(nil)
		other.askKey(r, 0, keys[7]())
		weak := other.handover
		if _, reply := other.askKey(r, 1, keys[7]()); len(other.handover) != 32 || reply.AT != 1 || bytes.Equal(other.handover[:20], weak) {
			t.Errorf("HK-AR-8: key of %d octets, AT %d", len(other.handover), reply.AT)
		}
		strong := other.handover
		if _, reply := other.askKey(r, 0, keys[7]()); reply.AT != 1 || !bytes.Equal(other.handover, strong) {
			t.Errorf("HK-AR-8: AT %d", reply.AT)
		}
		if _, reply := other.askKey(r, 9, keys[7]()); reply.AT != 1 || !bytes.Equal(other.handover, strong) {
			t.Errorf("HK-AR-8: nobody knows what AT 9 is, and it is answered with %d", reply.AT)
		}
		if bytes.Contains(strong, first) || bytes.Equal(weak, first) {
			t.Error("HK-AR-5: two nodes have one key")
		}
	})
	t.Run("key of 2048 bits", func(t *testing.T) {
		w.as(t)
		long := w.sendNode(longKeys[2](), true)
		defer long.attach(nil)
		if _, reply := long.askKey(r, 1, longKeys[3]()); len(reply.EncryptedKey) != 256 {
			t.Errorf("encrypted key of %d octets", len(reply.EncryptedKey))
		}
	})
	t.Run("wildcard without a key request", func(t *testing.T) {
		w.as(t)
		mark := n.mark()
		n.say(proxySolicit(n.Home, n.Hardware, r, nil), nil, r.hardware)
		if m := n.proxyAdvert(mark, r, true); m.HasKeyReply || m.Tuples.Len() != 1 || m.Tuples.At(0).Router != farRouter {
			t.Errorf("HK-resolution-k: proxy advertisement %+v", m)
		}
	})
	for _, bad := range []struct {
		name, counter string
		option        []byte
		signed        bool
	}{
		{"without a signature", "fmip/key_request_not_secured", keyRequest(0, &n.pair.PublicKey), false}, // HK-AR-1, HK-AR-2
		{"longer key than that of the address", "handoverkey/request_other_key_size", keyRequest(0, &longKeys[3]().PublicKey), true},
		{"key of the address", "handoverkey/request_cga_key_for_encryption", keyRequest(0, &n.sender.key.PublicKey), true},
		{"no key", "handoverkey/request_malformed", ndp.KeyRequest{}.Append(nil), true},
		{"key that is none", "handoverkey/request_bad_public_key", ndp.KeyRequest{PublicKey: []byte{0x30, 2, 5, 0}}.Append(nil), true},
	} {
		t.Run(bad.name, func(t *testing.T) {
			w.as(t)
			before, _ := w.status()
			mark := n.mark()
			packet := proxySolicit(n.Home, n.Hardware, r, nil, bad.option)
			if bad.signed {
				n.say(packet, nil, r.hardware)
			} else {
				w.nodes.send(n.Hardware, r.hardware, packet)
			}
			// HK-AR-2, HK-AR-14: it is answered, without a key; who has not signed gets no nonce, and the answer is signed.
			if m := n.proxyAdvert(mark, r, bad.signed); m.HasKeyReply || (len(m.Nonce) > 0) != bad.signed {
				t.Errorf("answer %+v", m)
			}
			after := w.moved(before, "it to be counted", map[string]int64{bad.counter: 1})
			moved := changes(before, after)
			if fastState(before) != fastState(after) || moved[bad.counter] != 1 || moved["handoverkey/keys_made"] != 0 || moved["engine/engine_encrypted"] != 0 {
				t.Errorf("state was\n%s\nand is\n%s\ncounters %v", fastState(before), fastState(after), moved)
			}
		})
	}

	// HK-AR-15, HK-AR-17: the key is good for updates, and stays good.
	n.attach(nil)
	reactive := func(careOf int) {
		t.Helper()
		mark := w.away.mark()
		to := ipv6.WithEUI64(farNet.Addr(), ipv6.LinkAddr{2, 0, 0, 0, 0xfa, byte(careOf)})
		w.fromAway(n.update(r, to, to, 30).packet())
		if ack := n.fastAck(w.away, mark, to, to, r); ack.Status != 0 || ack.Lifetime != 30 {
			t.Fatalf("acknowledgement %+v", ack)
		}
		w.await("the binding", func(s control.Snapshot) bool { b := bindingOf(s, n.Home); return b != nil && b.Exit == to })
		p := w.peer()
		mark = w.away.mark()
		p.sendTo(n.Home, "follow")
		w.away.hear(mark, "the datagram in the tunnel", both(inTunnel(datagramTo(n.Home, "follow")), func(h *heard) bool { return h.Dst == to && h.Src == w.global }))
	}
	reactive(1)
	for i, end := range []syscall.Signal{syscall.SIGKILL, handOver} {
		replay := n.update(r, n.Home, n.Home, 30)
		n.seq--
		check(t, w.d.Signal(end))
		<-w.d.Done()
		w.restart()
		s := w.await("key and binding", func(s control.Snapshot) bool {
			return rig.Serves(s) && keyOf(s, n.Home) != nil && bindingOf(s, n.Home) != nil
		})
		if s.Restart == nil || s.Restart.Keys != 3 || s.Restart.Bindings != 1 {
			t.Errorf("restart %+v", s.Restart)
		}
		// What was taken before the restart is not taken after it.
		before, _ := w.status()
		replay.Seq, replay.src, replay.AlternateCareOf = n.seq-1, ipv6.WithEUI64(farNet.Addr(), ipv6.LinkAddr{2, 0, 0, 0, 0xfb, 1}), s.Fast.Bindings[0].Exit.Next()
		replay.src, replay.signedFor = replay.AlternateCareOf, replay.AlternateCareOf
		w.fromAway(replay.packet())
		w.moved(before, "the old sequence number", map[string]int64{"fmip/update_sequence": 1})
		reactive(2 + i)
	}
	n.attach(w.nodes)
	if n.askKey(r, 0, n.pair); !bytes.Equal(n.handover, first) {
		t.Error("HK-AR-19: another key after two restarts")
	}
	w.nodes.fromCell(n, n.update(r, n.Home, n.Home, 0).packet(), r)
	n.fastAck(w.nodes, 0, n.Home, n.Home, r)
	w.await("no binding, and the key still there", func(s control.Snapshot) bool { return bindingOf(s, n.Home) == nil && keyOf(s, n.Home) != nil })
	if got := w.installed(); slices.Contains(got, "route "+n.Home.String()+"/128") {
		t.Errorf("there is still %v", got)
	}
	auditWire(t, w.nodes, w.access.Hardware, &w.sender, lanPrefix)
	_ = time.Second
}

// fromCell sends a node's packet to its router.
func (s *station) fromCell(n *sendNode, packet []byte, r fastRouter) {
	s.send(n.Hardware, r.hardware, packet)
}
