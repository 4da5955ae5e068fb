package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Signed answers over the wire against the raw RSA operation, as key exchanges are measured. A router keeps 48 messages for
// others waiting for their signatures, and 12 for one of them.
const (
	askers       = 64
	answerWindow = 32
)

func answers(f *figures, n *network, binary string) error {
	s, err := n.startSecure(n.router, binary, ownPoint, lanPrefix, "")
	if err != nil {
		return err
	}
	defer s.Kill()
	status, err := s.Status()
	if err != nil {
		return err
	}
	key, err := engine.LoadKey(filepath.Join(s.dir, "send.key"))
	if err != nil {
		return err
	}
	raw := engine.NewSoftware(nil, key, engine.PKCS1v15, rand.Reader)
	pairs, err := rig.NewKeyPairs(1024)
	if err != nil {
		return err
	}
	witness, err := rig.NewSecureNode(0, s.access, pairs)
	if err != nil {
		return err
	}
	questions := make([]question, askers)
	for i := range questions {
		questions[i] = newQuestion(i, s.access)
	}
	var rates, raws, ratios []float64
	for range exchangeRuns {
		r := engine.SignRate(raw, status.Engine.Workers, exchangeTime)
		a, err := n.answerRate(questions, s.access, witness, exchangeTime)
		if err != nil {
			return err
		}
		raws, rates, ratios = append(raws, r), append(rates, a), append(ratios, a/r)
		time.Sleep(time.Second) // what was under way at the end is done
	}
	f.tell("rsa2048_sign_raw", median(raws), "1/s")
	f.tell("signed_answer", median(rates), "1/s")
	f.atLeast("signed_answer_of_raw", median(ratios), "ratio", 0.95)
	return nil
}

// question is a host's solicitation for the router's address, without SEND: its answer is signed all the same.
type question struct {
	hardware ipv6.LinkAddr
	packet   []byte
}

func newQuestion(i int, r rig.Router) question {
	host := rig.NewNode(1<<23+i, r)
	message := ndp.AppendNeighborSolicit(nil, host.Local, r.Local, r.Local, ndp.SourceLinkOption(host.Hardware))
	return question{host.Hardware, ipv6.Append(nil, ipv6.Header{Src: host.Local, Dst: r.Local, HopLimit: 255}, ipv6.ProtoICMPv6, message)}
}

// answerRate asks the questions in turn, a window at a time, and counts answers that are signed. The first of them is verified.
func (n *network) answerRate(questions []question, r rig.Router, witness *rig.SecureNode, d time.Duration) (float64, error) {
	if err := n.nodes.Only(ipv6.ProtoICMPv6); err != nil {
		return 0, err
	}
	defer n.nodes.All()
	drain(n.nodes)
	buf := make([]byte, 2048)
	var p ipv6.Packet
	asked, answered := 0, 0
	ask := func() error {
		q := questions[asked%len(questions)]
		asked++
		return n.nodes.Send(q.hardware, r.Hardware, q.packet)
	}
	start := time.Now()
	for range answerWindow {
		if err := ask(); err != nil {
			return 0, err
		}
	}
	for {
		_, ok := n.nodes.Receive(buf, start.Add(d), &p)
		took := time.Since(start)
		if !ok || took > d {
			if answered == 0 {
				return 0, fmt.Errorf("none of %d questions was answered with a signature", asked)
			}
			return float64(answered) / took.Seconds(), nil
		}
		if p.Src != r.Local || !signedAdvert(&p) {
			continue
		}
		if answered == 0 && !witness.VerifySigned(&p) {
			return 0, fmt.Errorf("the signature of an answer is wrong")
		}
		answered++
		if err := ask(); err != nil {
			return 0, err
		}
	}
}

// signedAdvert reports whether a packet is a neighbour advertisement with a signature of 2048 bits.
func signedAdvert(p *ipv6.Packet) bool {
	m, reason := ndp.ParseNeighborAdvert(p)
	if reason != ndp.ReasonNone || !m.Solicited {
		return false
	}
	for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
		if o.Type == ndp.OptSignature {
			return len(o.Octets) >= 2048/8
		}
	}
	return false
}
