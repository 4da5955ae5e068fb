package guard

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// set is a named set of the table, with the elements that it should have.
type set struct {
	name     string
	datatype uint32 // what `nft list` shows its elements as
	length   uint32 // octets of an element
	elements map[string]bool
}

// Numbers of nft's data types; those of a concatenation stand side by side, six bits each.
const (
	typeAddr = 8  // ipv6_addr
	typeName = 41 // ifname
	typePair = typeAddr<<6 | typeAddr
	typeHome = typeName<<6 | typeAddr
)

func newSet(name string, datatype, length uint32) *set {
	return &set{name: name, datatype: datatype, length: length, elements: make(map[string]bool)}
}

func (s *set) create(t *transaction, table string, id uint32) {
	t.add(unix.NFT_MSG_NEWSET, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, table)
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, s.datatype)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.length)
		ae.Uint32(unix.NFTA_SET_ID, id)
		// libnftnl's user data: type 0 is the byte order of keys, 1 the host's, 2 the network's. Names are the host's.
		order := uint32(2)
		if s.datatype == typeName {
			order = 1
		}
		ae.Bytes(unix.NFTA_SET_USERDATA, append([]byte{0, 4}, native32(order)...))
	})
	s.change(t, table, unix.NFT_MSG_NEWSETELEM, slices.Sorted(maps.Keys(s.elements)))
}

// replace empties the set in the kernel and fills it with its elements.
func (s *set) replace(t *transaction, table string) {
	t.add(unix.NFT_MSG_DELSETELEM, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	})
	s.change(t, table, unix.NFT_MSG_NEWSETELEM, slices.Sorted(maps.Keys(s.elements)))
}

// change adds or deletes elements in the kernel, as message says.
func (s *set) change(t *transaction, table string, message uint16, elements []string) {
	flags := netlink.HeaderFlags(0)
	if message == unix.NFT_MSG_NEWSETELEM {
		flags = netlink.Create
	}
	for chunk := range slices.Chunk(elements, elementsPerMessage) {
		t.add(message, flags, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
			ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
			ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
				for _, e := range chunk {
					list.Nested(unix.NFTA_LIST_ELEM, func(element *netlink.AttributeEncoder) error {
						element.Nested(unix.NFTA_SET_ELEM_KEY, func(key *netlink.AttributeEncoder) error {
							key.Bytes(unix.NFTA_DATA_VALUE, []byte(e))
							return nil
						})
						return nil
					})
				}
				return nil
			})
		})
	}
}

// read lists the elements that the kernel has in the set; none where there is no such set.
func (s *set) read(c *nft, table string) (map[string]bool, error) {
	replies, err := c.dump(unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string]bool)
	for _, b := range replies {
		err = errors.Join(err, decode(b, func(ad *netlink.AttributeDecoder) {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			nested(ad, func(element *netlink.AttributeDecoder) {
				nested(element, func(e *netlink.AttributeDecoder) {
					if e.Type() != unix.NFTA_SET_ELEM_KEY {
						return
					}
					nested(e, func(key *netlink.AttributeDecoder) {
						if key.Type() == unix.NFTA_DATA_VALUE {
							all[string(key.Bytes())] = true
						}
					})
				})
			})
		}))
	}
	return all, err
}

// nameElements gives the elements of a set of interface names.
func nameElements(links []string) (map[string]bool, error) {
	names := make(map[string]bool)
	for _, l := range links {
		if l == "" || len(l) >= unix.IFNAMSIZ {
			return nil, fmt.Errorf("link name %q: it must have 1 to %d characters", l, unix.IFNAMSIZ-1)
		}
		var b [unix.IFNAMSIZ]byte
		copy(b[:], l)
		names[string(b[:])] = true
	}
	return names, nil
}
