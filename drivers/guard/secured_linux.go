package guard

import (
	"slices"

	"golang.org/x/sys/unix"
)

// ICMPv6 types of Neighbour Discovery (RFC 4861 section 4).
const (
	routerSolicitation     = 133
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137
)

// discovery is a message of Neighbour Discovery that a kernel would believe unsigned.
type discovery struct {
	icmp uint8
	name string // of the counter
}

// ofRouters and ofNodes choose from them.
const (
	ofRouters = false
	ofNodes   = true
)

func discoveries(nodes bool) []discovery {
	all := []discovery{
		{icmp: routerSolicitation, name: "secured_router_solicitation"},
		{icmp: neighbourSolicitation, name: "secured_neighbour_solicitation"},
		{icmp: neighbourAdvertisement, name: "secured_neighbour_advertisement"},
		{icmp: redirect, name: "secured_redirect"},
	}
	if nodes {
		all = append(all, discovery{icmp: routerAdvertisement, name: "secured_router_advertisement"})
	}
	return all
}

// securedRules keep Neighbour Discovery on links with SEND (RFC 3971) from the kernel, which checks no signature: it would
// learn neighbours from whoever says that he is one, and answer unsigned. All other ICMPv6 is its own, multicast listener
// discovery too.
//
// What the kernel, or another program by way of it, would say there unsigned does not leave either: solicitations of a kernel
// that resolves by itself, advertisements of a second speaker. Signed messages leave by packet sockets, which no rule sees.
//
// A fragment may hide its type. The kernel takes no Neighbour Discovery from fragments (RFC 6980) unless it is told to,
// by suppress_frag_ndisc.
func securedRules(links string, nodes bool) []rule {
	var all []rule
	for _, d := range discoveries(nodes) {
		all = append(all, rule{
			name: d.name, about: "checked from packet sockets, on links with SEND",
			match: sequence(
				[]expression{meta(unix.NFT_META_IIFNAME), in(links)}, protocol(unix.IPPROTO_ICMPV6),
				[]expression{payload(first, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1), is(d.icmp)},
			),
		})
	}
	last := byte(redirect)
	if !nodes {
		last = neighbourAdvertisement // redirects have a rule of their own
	}
	return append(all, rule{
		chain: output, name: "secured_unsigned", about: "would leave unsigned, on links with SEND",
		match: says(links, compare(unix.NFT_CMP_GTE, []byte{routerSolicitation}), compare(unix.NFT_CMP_LTE, []byte{last})),
	})
}

// says matches what leaves by a link with SEND and has an ICMPv6 type that the comparisons let through.
func says(links string, types ...expression) []expression {
	return sequence(
		[]expression{meta(unix.NFT_META_OIFNAME), in(links)}, protocol(unix.IPPROTO_ICMPV6),
		[]expression{payload(first, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1)}, types,
	)
}

// redirectRules keep the kernel's redirects from leaving unsigned by links with SEND. Only the kernel knows when one is due,
// so that this process gets a copy, to say the same signed.
func (f features) redirectRules(links string) []rule {
	r := rule{chain: output, name: "secured_unsigned_redirect", about: "would leave unsigned, on links with SEND", match: says(links, is(redirect))}
	if f.copies {
		r.group = logGroup
	}
	return []rule{r}
}

// copies reports whether a rule of the table gives copies to this process.
func (t *table) copies() bool {
	return slices.ContainsFunc(t.rules, func(r rule) bool { return r.group != 0 })
}

// SetSecured says what the links with SEND are called: solicitations, neighbour advertisements and redirects that arrive
// there are kept from the kernel, so that somebody else has to answer them and to write its neighbour entries, and no
// Neighbour Discovery leaves there but by packet sockets. It replaces what was set before in one transaction.
func (g *Guard) SetSecured(links []string) error {
	if g == nil {
		return nil
	}
	names, err := nameElements(links)
	if err != nil {
		return err
	}
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	g.secured.elements = names
	return g.t.change(func(tx *transaction) { g.secured.replace(tx, Table) })
}
