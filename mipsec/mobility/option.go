package mobility

import "net/netip"

// Option is one mobility option (RFC 6275 section 6.2.1): Type (1 octet), Length of the data (1), data.
type Option struct {
	Type   uint8
	Data   []byte // shares memory with the header
	Offset int    // of the type octet, from the start of the mobility header
}

// addr reads an address that begins at octet i of the data; the caller has checked the length.
func (o Option) addr(i int) netip.Addr { return netip.AddrFrom16([16]byte(o.Data[i : i+16])) }

// Options walks over the options of a mobility header without allocating. The zero value has none.
type Options struct {
	mh     []byte
	offset int
	err    error
}

// OptionsAt gives a walker over the options of mh, the first of which starts at offset.
func OptionsAt(mh []byte, offset int) Options {
	if offset < 0 || offset > len(mh) {
		return Options{err: ErrLength}
	}
	return Options{mh: mh, offset: offset}
}

// Next gives the next option that is no padding, and false at the end or at a malformed one, which Err then tells.
func (o *Options) Next() (Option, bool) {
	for o.err == nil && o.offset < len(o.mh) {
		at := o.offset
		if o.mh[at] == OptPad1 {
			o.offset++
			continue
		}
		if at+2 > len(o.mh) || at+2+int(o.mh[at+1]) > len(o.mh) {
			o.err = ErrOption
			break
		}
		end := at + 2 + int(o.mh[at+1])
		o.offset = end
		if o.mh[at] != OptPadN {
			return Option{Type: o.mh[at], Data: o.mh[at+2 : end : end], Offset: at}, true
		}
	}
	return Option{}, false
}

// Err reports ErrOption if an option ran over the end of the header, ErrLength if there is no room for options at all.
func (o *Options) Err() error { return o.err }

// appendPad appends n octets of padding: Pad1 for one, PadN for more (RFC 6275 sections 6.2.2 and 6.2.3). RFC 6275 has
// one PadN at most where the other options need alignment; n is under 256.
func appendPad(b []byte, n int) []byte {
	switch {
	case n <= 0:
		return b
	case n == 1:
		return append(b, OptPad1)
	}
	b = append(b, OptPadN, uint8(n-2))
	for range n - 2 {
		b = append(b, 0)
	}
	return b
}

// align pads the header that starts at b[start] so that what comes next is at 8n+at within it.
func align(b []byte, start, at int) []byte {
	over := (len(b) - start) % unit
	return appendPad(b, (at-over+unit)%unit)
}

// appendAuth appends an empty Binding Authorization Data option where it ends at a multiple of 8 octets: at 8n+2.
func appendAuth(b []byte, start int) []byte {
	b = align(b, start, 2)
	b = append(b, OptBindingAuth, authenticatorOctets)
	return append(b, make([]byte, authenticatorOctets)...)
}
