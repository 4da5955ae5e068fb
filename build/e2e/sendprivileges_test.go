package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ndp"
)

// TestOrdinaryUserWithSEND has no more than CAP_NET_ADMIN and CAP_NET_RAW, and does all that SEND and fast handovers need: it
// takes the neighbours over from the kernel, gives keys, keeps packets, forwards, and puts all back.
func TestOrdinaryUserWithSEND(t *testing.T) {
	t.Parallel()
	w := newSecureWorld(t, "only", keys[0]())
	w.withFar("none")
	w.asNobody(0o666, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	for _, name := range []string{"send.key", "send.cga", "send.pem"} {
		check(t, os.Chown(filepath.Join(w.options.Dir, name), nobody, nobody))
	}
	was := w.kernelState()
	w.start()
	n := w.sendNode(keys[4](), true)
	n.pair = keys[5]()
	n.await(0, ndp.TypeRouterAdvert, "a secured advertisement", secured)
	r := w.fastRouter()
	n.askKey(r, 0, n.pair)
	p := w.peer()
	p.sendTo(n.Home, "here")
	w.nodes.hear(0, "the datagram", datagramTo(n.Home, "here"))
	n.attach(nil)
	mark := w.away.mark()
	careOf := n.in(farNet)
	w.fromAway(n.update(r, careOf, careOf, 60).packet())
	n.fastAck(w.away, mark, careOf, careOf, r)
	p.sendTo(n.Home, "there")
	w.away.hear(mark, "the datagram in the tunnel", inTunnel(datagramTo(n.Home, "there")))
	check(t, w.d.Stop(5*time.Second))
	for _, d := range differ(was, w.kernelState()) {
		t.Error(d)
	}
	if log := w.d.Log(); strings.Contains(log, "error:") {
		t.Errorf("the daemon complains:\n%s", log)
	}
}
