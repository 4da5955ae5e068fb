package main

import (
	"fmt"
	"net/netip"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
)

func handoverCommand() command {
	return command{
		name:    "handover",
		args:    "ADDRESS [ACCESS-POINT]",
		summary: "ask a node to move to another access point",
		details: `ADDRESS is the node's address on a link with fast handovers; it must have a
handover key (roamkeyd status shows who has one). ACCESS-POINT is one of those
in the settings, such as 02:00:00:00:02:01; without it the node is told what is
nearby, and stays. The node moves if it wants to.`,
		run: (*program).handover,
	}
}

func (p *program) handover(c *command, args []string) int {
	o := newOptions(c)
	socket := o.String("socket", "", "`PATH` of the control socket, otherwise as the settings say")
	rest, code, done := p.read(o, args, 2)
	if done {
		return code
	}
	if len(rest) == 0 {
		p.fail("handover: name the node's address, such as 2001:db8:1::2c1d:7a35; roamkeyd help handover tells more")
		return exitUsage
	}
	home, err := netip.ParseAddr(rest[0])
	if err != nil || !home.Is6() {
		p.fail("handover: %q is not the IPv6 address of a node", rest[0])
		return exitUsage
	}
	var point ipv6.LinkAddr
	if len(rest) > 1 {
		if err := point.UnmarshalText([]byte(rest[1])); err != nil {
			p.fail("handover: %v", err)
			return exitUsage
		}
	}
	if *socket == "" {
		*socket = controlSocket(o.config)
	}
	client, err := control.Dial(*socket)
	if err == nil {
		defer client.Close()
		err = client.Handover(home, point)
	}
	if err != nil {
		p.fail("%v", err)
		return exitFailed
	}
	fmt.Fprintf(p.stdout, "asked %s\n", home)
	return exitOK
}
