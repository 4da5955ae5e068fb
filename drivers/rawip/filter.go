package rawip

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/roamkey/roamkey/ipv6"
)

// chainLen is how many extension headers the filters follow, as many as ipv6.Parse does. A packet in the order of RFC 8200
// section 4.1 needs five at the most, IPsec aside.
const chainLen = 6

// accept is a filter's answer for a packet that is wanted: the number of octets to keep.
const accept = 0x40000

// Packet types of packet(7) up to this one are for us; those above were sent to others or by us.
const lastPacketTypeForUs = 2 // PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST

// linkFilter is the program of the socket of the served link with that index. Its packets begin with an Ethernet header.
// Such a socket also gets what a VLAN's interface on the link has taken: by then it belongs to that interface.
func linkFilter(index int) ([]bpf.RawInstruction, error) {
	return bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(index), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, filter(OnLink, frameHeader)...))
}

// urgentFilter is the program of the socket for all interfaces, whose packets begin with the IPv6 header.
func urgentFilter() ([]bpf.RawInstruction, error) { return bpf.Assemble(filter(Urgent, 0)) }

// filter is the program that accepts packets of class, whose IPv6 header is at octet base.
func filter(class Class, base uint32) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastPacketTypeForUs, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
		// A tag that is still there belongs to a VLAN that is not this interface.
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
	}, contents(class, base)...)
}

// Scratch memory: the next header while the offset of the one after it is computed.
const memNext = 0

// contents is the part of the program that looks at octets. A classic BPF program has no loop: each extension header is a
// block of its own, with the next header's number in A and its offset in X.
func contents(class Class, base uint32) []bpf.Instruction {
	var a assembler
	a.add(bpf.LoadAbsolute{Off: base, Size: 1})
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	a.unless(6, "drop")
	a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: base + ipv6.HeaderLen})
	a.add(bpf.LoadAbsolute{Off: base + 6, Size: 1})
	for i := 0; ; i++ {
		a.when(ipv6.ProtoMobility, "mobility")
		if class == OnLink {
			a.when(ipv6.ProtoICMPv6, "icmp")
		}
		if i == chainLen {
			break
		}
		fragment, options := fmt.Sprintf("fragment%d", i), fmt.Sprintf("options%d", i)
		next := fmt.Sprintf("next%d", i)
		a.when(ipv6.ProtoFragment, fragment)
		a.when(ipv6.ProtoHopByHop, options)
		a.when(ipv6.ProtoDestination, options)
		a.when(ipv6.ProtoRouting, options)
		a.jump("drop")

		// The first fragment goes on, to be counted; the rest of the packet would only be counted again.
		a.label(fragment)
		a.add(bpf.LoadIndirect{Off: 2, Size: 2})
		a.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xfff8})
		a.unless(0, "drop")
		a.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: memNext})
		a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 8}, bpf.TAX{})
		a.jump(next)

		a.label(options)
		a.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: memNext})
		a.add(bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1})
		a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})

		a.label(next)
		a.add(bpf.LoadScratch{Dst: bpf.RegA, N: memNext})
	}
	a.jump("drop")

	if class == OnLink {
		a.label("icmp")
		a.add(bpf.LoadIndirect{Off: 0, Size: 1})
		a.below(firstND, "drop")
		a.below(lastND+1, "accept")
		a.when(pathSolicit, "accept")
		a.when(pathAdvert, "accept")
		a.when(fast, "accept")
		a.jump("drop")
	}
	a.label("mobility")
	a.add(bpf.LoadAbsolute{Off: base + 24, Size: 2}) // the first 16 bits of the destination
	if class == OnLink {
		a.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xffc0})
		a.when(0xfe80, "accept")
		a.jump("drop")
	} else {
		a.add(bpf.TAX{}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xff00})
		a.when(0xff00, "drop")
		a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xffc0})
		a.when(0xfe80, "drop")
		a.jump("accept")
	}
	a.label("accept")
	a.add(bpf.RetConstant{Val: accept})
	a.label("drop")
	a.add(bpf.RetConstant{Val: 0})
	return a.link()
}

// assembler lets jumps name their targets. All jumps go forward, as the kernel demands.
type assembler struct {
	program []bpf.Instruction
	jumps   []jump
	labels  map[string]int
}

type jump struct {
	at int
	to string
}

func (a *assembler) add(in ...bpf.Instruction) { a.program = append(a.program, in...) }

func (a *assembler) label(name string) {
	if a.labels == nil {
		a.labels = make(map[string]int)
	}
	a.labels[name] = len(a.program)
}

// jump always goes to a label. The conditional ones skip over such a jump, so that no target is too far for eight bits.
func (a *assembler) jump(to string) {
	a.jumps = append(a.jumps, jump{len(a.program), to})
	a.add(bpf.Jump{})
}

func (a *assembler) when(value uint32, to string) {
	a.add(bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: 1})
	a.jump(to)
}

func (a *assembler) unless(value uint32, to string) {
	a.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1})
	a.jump(to)
}

func (a *assembler) below(value uint32, to string) {
	a.add(bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: value, SkipTrue: 1})
	a.jump(to)
}

func (a *assembler) link() []bpf.Instruction {
	for _, j := range a.jumps {
		a.program[j.at] = bpf.Jump{Skip: uint32(a.labels[j.to] - j.at - 1)}
	}
	return a.program
}
