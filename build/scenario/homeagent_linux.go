package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// homeAgentRole in the environment makes a program that asks HomeAgentRole a home agent: its address and the tunnel's
// backend, with a comma between.
const homeAgentRole = "ROAMKEY_SCENARIO_HOME_AGENT"

// homeAgentReady is what it says when it can be told of addresses.
const homeAgentReady = "home agent: ready"

// HomeAgentRole gives what a program has to do if it was started to be the home agent; it is asked first thing in main.
func HomeAgentRole() (main func() int, ok bool) {
	role, ok := os.LookupEnv(homeAgentRole)
	if !ok {
		return nil, false
	}
	return func() int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := serveHomeAgent(ctx, role, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, "home agent:", err)
			return 1
		}
		return 0
	}, true
}

// homeAgent is the least that Mobile IPv6 asks of a home agent for this: it takes registrations of addresses of its /64
// and tunnels what comes for them (RFC 6275 sections 10.3 and 10.4). It believes whoever says that he is the node: real
// ones want IPsec, which changes nothing in what is shown here.
type homeAgent struct {
	address netip.Addr
	conn    rawip.Conn
	forward forward.Forwarder
	log     io.Writer
}

func serveHomeAgent(ctx context.Context, role string, log io.Writer) error {
	var backend string
	h := homeAgent{log: log}
	for i, c := range role {
		if c == ',' {
			backend = role[i+1:]
			role = role[:i]
			break
		}
	}
	var err error
	if h.address, err = netip.ParseAddr(role); err != nil {
		return err
	}
	table, err := guard.Open()
	if err == nil {
		defer table.Close(false)
		err = table.SetRouters([]netip.Addr{h.address}, nil)
	}
	if err != nil {
		fmt.Fprintln(log, "home agent: no guard:", err)
		table = nil
	}
	if h.forward, err = forward.Open(forward.Config{Backend: forward.Backend(backend)}, table); err != nil {
		return err
	}
	defer h.forward.Close(false)
	socket, err := rawip.Open(rawip.Config{})
	if err != nil {
		return err
	}
	defer socket.Close()
	h.conn = socket
	fmt.Fprintln(log, homeAgentReady+", tunnel by", h.forward.Describe().Backend)
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-socket.Urgent():
			if err := h.take(&r.Packet); err != nil {
				fmt.Fprintln(log, "home agent:", err)
			}
			r.Release()
		}
	}
}

// take handles one mobility header.
func (h *homeAgent) take(p *ipv6.Packet) error {
	if p.Dst != h.address || p.Proto != ipv6.ProtoMobility {
		return nil
	}
	header, fault := mobility.Check(p, mobility.MinHeaderLen)
	if fault != mobility.FaultNone || header.Type != mobility.TypeBU {
		return fmt.Errorf("not a Binding Update: type %d, %v", header.Type, fault)
	}
	bu, err := mobility.ParseBindingUpdate(header)
	if err != nil {
		return err
	}
	home, careOf := p.HomeAddress, p.Src
	if bu.AlternateCareOf.IsValid() {
		careOf = bu.AlternateCareOf
	}
	if bu.Flags&mobility.FlagHome == 0 || !netip.PrefixFrom(h.address, 64).Contains(home) {
		return errors.New("a Binding Update that is not for a home agent")
	}
	ack := mobility.BindingAck{Status: mobility.StatusAccepted, Seq: bu.Seq, Lifetime: bu.Lifetime}
	if bu.Lifetime == 0 {
		err = h.forward.Unbind(home)
	} else {
		err = h.forward.Bind(forward.Binding{Home: home, Router: h.address, CareOf: careOf})
	}
	if err != nil {
		ack.Status, ack.Lifetime = mobility.StatusResources, 0
		fmt.Fprintln(h.log, "home agent:", err)
	}
	mh := ack.Append(nil, mobility.DefaultCodePoints())
	mobility.FixChecksum(mh, h.address, home)
	fmt.Fprintf(h.log, "home agent: %v is at %v, status %d (%s)\n", home, careOf, ack.Status, time.Now().Format("15:04:05.000"))
	return h.conn.SendRouted(ipv6.Append(nil, ipv6.Header{Src: h.address, Dst: careOf, HopLimit: 64, RoutingHome: home}, ipv6.ProtoMobility, mh))
}
