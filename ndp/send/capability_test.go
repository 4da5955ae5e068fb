package send_test

import (
	"bytes"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/send"
)

// LKE-AR-28: on a link with SEND the advertisement is signed, the capability option of Local Key Exchange with it. Who puts
// another public key in its place, to have nodes encrypt their keys for him, is not believed.
func TestCapabilityIsSigned(t *testing.T) {
	cp := ndp.DefaultCodePoints()
	p := newPair(t)
	option := ndp.Capability{MaximumLifetime: 7200, PublicKey: strangeKey().spki}.Append(nil, cp)
	msg := p.a.say(with(t, routerAdvert(p.a.local, ipv6.AllNodes()), option))
	types := optionTypes(t, msg)
	if want := []uint8{ndp.OptSourceLink, cp.Capability, ndp.OptCGA, ndp.OptTimestamp, ndp.OptSignature}; !bytes.Equal(types, want) {
		t.Fatalf("options %v, want %v", types, want)
	}
	d := p.b.secured(msg)
	signedBy(t, d, p.a.key)
	for _, o := range optionsOf(t, d.packet.Raw) {
		if o.Type != cp.Capability {
			continue
		}
		if c, err := ndp.ParseCapability(o); err != nil || c.MaximumLifetime != 7200 || !bytes.Equal(c.PublicKey, strangeKey().spki) {
			t.Errorf("delivered %+v, %v", c, err)
		}
	}
	forged := bytes.Replace(msg, strangeKey().spki, otherKey().spki, 1)
	p.b.unsecured(recheck(forged), send.ReasonSignature)
	only := newPair(t, secured)
	msg = only.a.say(with(t, routerAdvert(only.a.local, ipv6.AllNodes()), option))
	only.b.drops(recheck(bytes.Replace(msg, strangeKey().spki, otherKey().spki, 1)), "dropped_bad_signature")
	only.b.drops(without(t, msg, ndp.OptSignature), "dropped_no_signature")
}
