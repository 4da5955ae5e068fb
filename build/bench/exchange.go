package main

import (
	"crypto/rand"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// Key exchanges over the wire against the raw RSA operation, in turn, the median of five.
const (
	exchangeRuns = 5
	exchangeTime = 2 * time.Second
	// window is how many requests are under way: enough that the engine never waits, few enough that none is dropped.
	window = 48
)

func exchanges(f *figures, n *network, binary string) error {
	d, err := n.start(binary, 2048, false)
	if err != nil {
		return err
	}
	defer d.Kill()
	s, err := d.Status()
	if err != nil {
		return err
	}
	raw := engine.NewSoftware(d.Key, nil, engine.PKCS1v15, rand.Reader)
	var rates, raws, ratios []float64
	made := 0
	for range exchangeRuns {
		sample, err := nodes(1<<24, window, &d.Key.PublicKey, n)
		if err != nil {
			return err
		}
		ciphertexts := make([][]byte, len(sample))
		for i, m := range sample {
			ciphertexts[i] = ciphertext(m.request)
		}
		r := engine.Rate(raw, s.Engine.Workers, ciphertexts, exchangeTime)
		count := int(r*exchangeTime.Seconds()*1.3) + 2*window
		all, err := nodes(made, count, &d.Key.PublicKey, n)
		if err != nil {
			return err
		}
		made += count
		e, err := n.exchangeRate(all, exchangeTime)
		if err != nil {
			return err
		}
		raws, rates, ratios = append(raws, r), append(rates, e), append(ratios, e/r)
		time.Sleep(2 * time.Second) // DAD of these nodes fails, and they are forgotten
	}
	f.tell("rsa2048_raw", median(raws), "1/s")
	f.tell("key_exchange", median(rates), "1/s")
	f.atLeast("key_exchange_of_raw", median(ratios), "ratio", 0.95)
	return nil
}

// ciphertext is the Key Exchange Data of a request.
func ciphertext(request []byte) []byte {
	var p ipv6.Packet
	if problem := ipv6.Parse(request, &p); problem != ipv6.OK {
		panic(problem.String())
	}
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		panic(err)
	}
	m, err := mobility.ParseKeyExchangeRequest(h, 256, mobility.DefaultCodePoints())
	if err != nil {
		panic(err)
	}
	return m.Data
}

// exchangeRate sends the requests, a window at a time, and counts acknowledgements.
func (n *network) exchangeRate(all []*node, d time.Duration) (float64, error) {
	// Acknowledgements are the packets with a routing header. Solicitations and group reports come, too; to read them takes
	// time from the daemon on a machine with two processors.
	if err := n.nodes.Only(ipv6.ProtoRouting); err != nil {
		return 0, err
	}
	defer n.nodes.All()
	drain(n.nodes)
	next, acks := 0, 0
	send := func() (err error) {
		if next < len(all) {
			err = n.nodes.Send(all[next].Hardware, n.access.Hardware, all[next].request)
			next++
		}
		return err
	}
	start := time.Now()
	for range window {
		if err := send(); err != nil {
			return 0, err
		}
	}
	buf := make([]byte, 2048)
	var p ipv6.Packet
	for {
		_, ok := n.nodes.Receive(buf, start.Add(d), &p)
		if !ok {
			return float64(acks) / time.Since(start).Seconds(), nil
		}
		if p.Proto == ipv6.ProtoMobility {
			acks++
			if err := send(); err != nil {
				return 0, err
			}
		}
	}
}

// drain takes what is still there of an earlier run: that must not count for the next one.
func drain(wire *rig.Wire) {
	buf := make([]byte, 2048)
	var p ipv6.Packet
	for end, ok := time.Now().Add(time.Second), true; ok && time.Now().Before(end); {
		_, ok = wire.Receive(buf, time.Now().Add(time.Millisecond), &p)
	}
}
