package hostnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

// policyText is a policy as a test says it: the message of the kernel is made of it.
type policyText struct {
	index, priority          uint32
	dir                      uint8
	src, dst                 string
	proto                    uint8
	sport, sportMask         uint16
	dport, dportMask         uint16
	link                     uint32
	family                   uint16
	block                    bool
	templates                []template
	sub                      bool
	interfaceID, mark, marks uint32
}

type template struct {
	proto    uint8
	optional bool
}

var esp = []template{{proto: unix.IPPROTO_ESP}}

func (p policyText) octets() []byte {
	b := make([]byte, policyInfoLen())
	dst, src := netip.MustParsePrefix(p.dst), netip.MustParsePrefix(p.src)
	copy(b, dst.Addr().AsSlice())
	copy(b[selectorSrc:], src.Addr().AsSlice())
	for i, v := range []uint16{p.dport, p.dportMask, p.sport, p.sportMask} {
		binary.BigEndian.PutUint16(b[selectorDport+2*i:], v)
	}
	if p.family == 0 {
		p.family = unix.AF_INET6
	}
	binary.NativeEndian.PutUint16(b[selectorFamily:], p.family)
	b[selectorDstBits], b[selectorSrcBits], b[selectorProto] = uint8(dst.Bits()), uint8(src.Bits()), p.proto
	binary.NativeEndian.PutUint32(b[selectorIndex:], p.link)
	binary.NativeEndian.PutUint32(b[policyPriority:], p.priority)
	binary.NativeEndian.PutUint32(b[policyIndex:], p.index)
	b[policyDir] = p.dir
	if p.block {
		b[policyAction] = 1
	}
	return append(b, attributes(func(ae *netlink.AttributeEncoder) {
		var all []byte
		for _, t := range p.templates {
			one := make([]byte, templateLen)
			one[templateProto] = t.proto
			if t.optional {
				one[templateOptional] = 1
			}
			all = append(all, one...)
		}
		if len(all) > 0 {
			ae.Bytes(xfrmTemplates, all)
		}
		if p.sub {
			ae.Bytes(xfrmPolicyType, []byte{1, 0, 0, 0, 0, 0})
		}
		if p.interfaceID != 0 {
			ae.Uint32(xfrmInterface, p.interfaceID)
		}
		if p.marks != 0 {
			ae.Bytes(xfrmMark, binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, p.mark), p.marks))
		}
	})...)
}

func outbound() policyText {
	return policyText{index: 9, priority: 100, dir: policyOut, src: here.String() + "/128", dst: there.String() + "/128", proto: ipv6.ProtoMobility, templates: esp}
}

func inbound() policyText {
	return policyText{index: 16, priority: 100, dir: policyIn, src: there.String() + "/128", dst: here.String() + "/128", proto: ipv6.ProtoMobility, templates: esp}
}

// What is said of protection between routers has to be what the kernel would do: the policy that goes first counts, in both
// directions, and only ESP that is not optional.
func TestPoliciesThatCover(t *testing.T) {
	change := func(f func(*policyText)) []policyText {
		p := outbound()
		f(&p)
		return []policyText{p, inbound()}
	}
	and := func(f func(*policyText)) []policyText {
		p := outbound()
		p.index, p.priority, p.templates = 17, 50, nil
		f(&p)
		return []policyText{outbound(), inbound(), p}
	}
	for _, c := range []struct {
		name     string
		policies []policyText
		want     bool
	}{
		{"none", nil, false},
		{"both directions", []policyText{outbound(), inbound()}, true},
		{"outbound alone", []policyText{outbound()}, false},
		{"inbound alone", []policyText{inbound()}, false},
		{"any protocol", change(func(p *policyText) { p.proto = 0 }), true},
		{"UDP", change(func(p *policyText) { p.proto = 17 }), false},
		{"a prefix", change(func(p *policyText) { p.dst = "2001:db8::/32" }), true},
		{"everything", change(func(p *policyText) { p.src, p.dst = "::/0", "::/0" }), true},
		{"another peer", change(func(p *policyText) { p.dst = "2001:db8:2::98/128" }), false},
		{"from another address of ours", change(func(p *policyText) { p.src = "2001:db8:1::2/128" }), false},
		{"AH", change(func(p *policyText) { p.templates = []template{{proto: unix.IPPROTO_AH}} }), false},
		{"ESP behind IPComp", change(func(p *policyText) { p.templates = []template{{proto: 108, optional: true}, {proto: unix.IPPROTO_ESP}} }), true},
		{"ESP if there is any", change(func(p *policyText) { p.templates = []template{{proto: unix.IPPROTO_ESP, optional: true}} }), false},
		{"no transform", change(func(p *policyText) { p.templates = nil }), false},
		{"blocked", change(func(p *policyText) { p.block = true }), false},
		{"forwarded packets", change(func(p *policyText) { p.dir = 2 }), false},
		{"a sub-policy", change(func(p *policyText) { p.sub = true }), false},
		{"for an XFRM interface", change(func(p *policyText) { p.interfaceID = 7 }), false},
		{"for marked packets", change(func(p *policyText) { p.mark, p.marks = 1, 1 }), false},
		{"for packets without a mark", change(func(p *policyText) { p.marks = 1 }), true},
		{"IPv4", change(func(p *policyText) { p.family = unix.AF_INET }), false},
		{"one interface", change(func(p *policyText) { p.link = 3 }), false},
		{"binding updates", change(func(p *policyText) { p.sport, p.sportMask = 5, 0xffff }), false},
		{"HI alone", change(func(p *policyText) { p.sport, p.sportMask = 14, 0xffff }), false},
		{"HI and HAck by a mask", change(func(p *policyText) { p.sport, p.sportMask = 14, 0xfffe }), true},
		{"a destination port", change(func(p *policyText) { p.dport, p.dportMask = 1, 0xffff }), false},
		{"let through before it", and(func(*policyText) {}), false},
		{"let through behind it", and(func(p *policyText) { p.priority = 200 }), true},
		{"let through, as urgent and later", and(func(p *policyText) { p.priority = 100 }), true},
		{"let through, as urgent and earlier", and(func(p *policyText) { p.priority, p.index = 100, 1 }), false},
		{"let through on some interface", and(func(p *policyText) { p.link = 3 }), false},
		{"others let through", and(func(p *policyText) { p.dst = "2001:db8:3::/64" }), true},
		{"other types let through", and(func(p *policyText) { p.sport, p.sportMask = 5, 0xffff }), true},
		{"HAck let through", and(func(p *policyText) { p.sport, p.sportMask = 15, 0xffff }), false},
		{"under ESP on some interface, and on all", and(func(p *policyText) { p.link, p.templates = 3, esp }), true},
	} {
		m := newMirror()
		for _, p := range c.policies {
			m.applyXFRM(message(xfrmNewPolicy, p.octets()))
		}
		if got := m.covers(here, there); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if m.covers(there, here) || m.covers(here, here) {
			t.Errorf("%s: covers others, too", c.name)
		}
	}
}

// The mirror follows what the kernel tells of policies.
func TestPoliciesInTheMirror(t *testing.T) {
	m := newMirror()
	is := func(what string, want bool, policies int) {
		t.Helper()
		if got := m.covers(here, there); got != want || len(m.policies) != policies {
			t.Errorf("%s: %v with %d policies, want %v with %d", what, got, len(m.policies), want, policies)
		}
	}
	both := func() {
		m.applyXFRM(message(xfrmNewPolicy, outbound().octets()))
		m.applyXFRM(message(xfrmUpdPolicy, inbound().octets()))
	}
	both()
	both()
	is("told twice", true, 2)
	weaker := outbound()
	weaker.templates = nil
	m.applyXFRM(message(xfrmUpdPolicy, weaker.octets()))
	is("changed", false, 2)
	m.applyXFRM(message(xfrmUpdPolicy, outbound().octets()))
	is("changed back", true, 2)
	other := outbound()
	other.proto = 17
	m.applyXFRM(message(xfrmUpdPolicy, other.octets()))
	is("made one that does not matter", false, 1)
	both()
	id := make([]byte, 64)
	binary.NativeEndian.PutUint32(id[56:], 9)
	m.applyXFRM(message(xfrmDelPolicy, id))
	is("deleted by its index", false, 1)
	both()
	clear(id)
	bySelector := append(bytes.Clone(id), attributes(func(ae *netlink.AttributeEncoder) {
		ae.Bytes(xfrmPolicyInfo, outbound().octets()[:policyInfoLen()])
	})...)
	m.applyXFRM(message(xfrmDelPolicy, bySelector))
	is("deleted by its selector", false, 1)
	both()
	m.applyXFRM(message(xfrmDelPolicy, id))
	is("nobody's deletion", true, 2)
	info := inbound().octets()[:policyInfoLen()]
	m.applyXFRM(message(xfrmExpirePolicy, append(bytes.Clone(info), 0, 0, 0, 0, 0, 0, 0, 0)))
	is("a soft expiry", true, 2)
	m.applyXFRM(message(xfrmExpirePolicy, append(bytes.Clone(info), 1, 0, 0, 0, 0, 0, 0, 0)))
	is("a hard expiry", false, 1)
}

// With more policies than can be kept, one of the lost might let packets through.
func TestTooManyPolicies(t *testing.T) {
	h := &Host{mirror: newMirror()}
	h.mirror.applyXFRM(message(xfrmNewPolicy, outbound().octets()))
	h.mirror.applyXFRM(message(xfrmNewPolicy, inbound().octets()))
	p := outbound()
	for i := range uint32(maxPolicies - 2) {
		p.index, p.priority = 100+8*i, 200+i
		h.mirror.applyXFRM(message(xfrmNewPolicy, p.octets()))
	}
	if !h.Covers(here, there) {
		t.Fatal("not covered while all are known")
	}
	p.index, p.priority = 8, 1
	h.mirror.applyXFRM(message(xfrmNewPolicy, p.octets()))
	if h.Covers(here, there) || len(h.mirror.policies) != maxPolicies {
		t.Errorf("covered, although one is lost, of %d", len(h.mirror.policies))
	}
}

// The kernel's own policies, as ip(8) makes them, are seen as they come and go.
func TestPoliciesOfTheKernel(t *testing.T) {
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("there is no ip program (iproute2)")
	}
	_, ns := netlabtest.New(t, "router")
	router := ns[0]
	h := openIn(t, router, eventBuffer)
	if h.xfrm == nil {
		t.Skip("this kernel has no XFRM")
	}
	ip := func(command string) {
		t.Helper()
		_, err := router.Run(netlabtest.Patience, path, strings.Fields("xfrm policy "+command)...)
		check(t, err)
	}
	covers := func(want bool) func() bool { return func() bool { return h.Covers(here, there) == want } }
	settled := func(want string, policies uint64) {
		t.Helper()
		netlabtest.Await(t, want, func() bool { return netlabtest.Counter(t, h, "ipsec_policies") == policies })
	}
	const (
		out    = "src 2001:db8:1::1 dst 2001:db8:2::99 proto 135 dir out"
		in     = "src 2001:db8:2::99 dst 2001:db8:1::1 proto 135 dir in"
		tmpl   = " tmpl proto esp mode transport"
		bypass = "src ::/0 dst 2001:db8:2::/64 dir out priority 10"
	)
	if covers(true)() {
		t.Error("covered without a policy")
	}
	ip("add " + out + " priority 100" + tmpl)
	settled("the policy for sending", 1)
	if covers(true)() {
		t.Error("covered in one direction")
	}
	ip("add " + in + " priority 100" + tmpl)
	netlabtest.Await(t, "both are seen", covers(true))
	if other := openIn(t, router, eventBuffer); !other.Covers(here, there) {
		t.Error("policies from before the start are not known")
	}
	// Those that do not matter are not kept; one that goes first counts.
	ip("add src 2001:db8:1::1 dst 2001:db8:2::99 proto udp dir out priority 1")
	ip("add src 2001:db8:1::1 dst 2001:db8:2::99 proto 135 dir fwd priority 1")
	ip("add " + bypass)
	netlabtest.Await(t, "the exception is seen", covers(false))
	settled("three matter", 3)
	ip("delete src ::/0 dst 2001:db8:2::/64 dir out")
	netlabtest.Await(t, "the exception is gone", covers(true))
	// A change of the same policy: optional now, which is no protection.
	ip("update " + in + " priority 100" + tmpl + " level use")
	netlabtest.Await(t, "optional ESP", covers(false))
	ip("update " + in + " priority 100" + tmpl)
	netlabtest.Await(t, "required again", covers(true))
	ip("flush")
	netlabtest.Await(t, "all are flushed", covers(false))
	settled("none is left", 0)
	// One that blocks protects nobody, and type by type it has to be both.
	ip("add " + in + tmpl)
	ip("add src 2001:db8:1::1 dst 2001:db8:2::99 proto 135 type 14 dir out" + tmpl)
	settled("the policy for HI", 2)
	if covers(true)() {
		t.Error("HI alone passes for both")
	}
	ip("add src 2001:db8:1::1 dst 2001:db8:2::99 proto 135 type 15 dir out" + tmpl)
	netlabtest.Await(t, "HI and HAck, each by its policy", covers(true))
	ip("delete " + in)
	netlabtest.Await(t, "the one for taking is gone", covers(false))
}

// A kernel without IPsec covers nothing.
func TestNoPoliciesWithoutXFRM(t *testing.T) {
	h := &Host{mirror: newMirror()}
	check(t, h.readXFRM())
	if h.Covers(here, there) {
		t.Error("covered")
	}
}
