package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ndp/certpath"
)

// mostCertFile is more than any file of certificates needs, in octets.
const mostCertFile = 1 << 20

// caShow tells what is in a file of certificates, and whether they form a path.
func (p *program) caShow(file string, profile certpath.Profile) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > mostCertFile {
		return fmt.Errorf("%s is no file of certificates", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	certs, err := certpath.Certificates(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	anchors := true
	for i, c := range certs {
		if i > 0 {
			fmt.Fprintln(p.stdout)
		}
		p.describe(c)
		anchors = anchors && c.IsCA
	}
	fmt.Fprintln(p.stdout)
	return p.judge(text, certs, anchors, profile)
}

// judge tells whether the certificates form the path of a router, or are anchors.
func (p *program) judge(text []byte, certs []*certpath.Certificate, anchors bool, profile certpath.Profile) error {
	now := time.Now()
	if anchors {
		list, err := certpath.LoadAnchors(text)
		for i := 0; err == nil && i < len(list); i++ {
			err = inTime(list[i].Certificate.NotBefore, list[i].Certificate.NotAfter, now)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, "verdict      good: "+counted(len(certs), "trust anchor"))
		return nil
	}
	chain, err := certpath.LoadChain(text, profile)
	if err == nil {
		err = inTime(chain.NotBefore, chain.NotAfter, now)
	}
	if err == nil {
		err = chain.Fits(1500)
	}
	if err != nil {
		return fmt.Errorf("the path is not valid by %v: %w", profile, err)
	}
	verdict := "good: a path from the anchor, by " + profile.String()
	if !chain.HasAnchor {
		verdict = "good as far as can be seen without the anchor's certificate, by " + profile.String()
	}
	p.wrapped(p.stdout, "verdict      ", "             ", verdict)
	return nil
}

func inTime(from, until, now time.Time) error {
	switch {
	case now.Before(from):
		return fmt.Errorf("%w (from %s)", certpath.ReasonNotYet, moment(from))
	case now.After(until):
		return fmt.Errorf("%w (until %s): make a new one with roamkeyd ca", certpath.ReasonExpired, moment(until))
	}
	return nil
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// describeCertificate tells what a certificate that was just made says.
func (p *program) describeCertificate(der []byte) error {
	certs, err := certpath.Certificates(certpath.EncodePEM(der))
	if err != nil {
		return err
	}
	p.describe(certs[0])
	return nil
}

// describe tells what a certificate says.
func (p *program) describe(c *certpath.Certificate) {
	line := func(head, text string) {
		p.wrapped(p.stdout, fmt.Sprintf("%-13s", head), strings.Repeat(" ", 13), printable(text))
	}
	line("subject", c.Subject.String())
	if bytes.Equal(c.Issuer, c.Subject) {
		line("issuer", "itself")
	} else {
		line("issuer", c.Issuer.String())
	}
	switch {
	case c.IsCA && bytes.Equal(c.Issuer, c.Subject):
		line("kind", "trust anchor")
	case c.IsCA:
		line("kind", "authority")
	default:
		line("kind", "node, for "+certpath.Purposes(c).String())
	}
	blocks, found, err := certpath.Addresses(c)
	switch {
	case err != nil:
		line("addresses", "malformed: "+err.Error())
	case !found:
		line("addresses", "none")
	case blocks.Inherit:
		line("addresses", "those of the issuer")
	default:
		line("addresses", blocks.Set.String())
	}
	kind := c.KeyAlgorithm.String()
	if n := c.KeyBits(); n > 0 {
		kind = fmt.Sprintf("RSA %d", n)
	}
	line("key", kind+", signed with "+c.SignatureAlgorithm.String())
	line("fingerprint", control.Fingerprint(c.SPKI))
	line("valid", "from "+moment(c.NotBefore)+" until "+moment(c.NotAfter))
	line("length", fmt.Sprintf("%d octets", len(c.Raw)))
}

// printable makes a text fit for a terminal: certificates come from anybody.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
