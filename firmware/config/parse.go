package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"

	"github.com/roamkey/roamkey/ipv6"
)

// DefaultPath is where the file stands, on OpenWrt and elsewhere.
const DefaultPath = "/etc/config/roamkey"

// maxFile bounds the size of a file in octets.
const maxFile = 256 << 10

// maxProblems ends the list of problems of one file.
const maxProblems = 200

//go:embed reference.conf
var reference string

// Reference is a file of settings that describes every option with its default.
func Reference() string { return reference }

// Load reads and validates a file. A returned error is of type Problems where the file's contents are wrong; one that
// wraps fs.ErrNotExist or fs.ErrPermission where it cannot be read.
func Load(path string) (*Config, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c, problems := Parse(path, text)
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w: write one; roamkeyd help options prints a text to start from", err)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%w: make it readable for this user (chmod o+r, or chgrp and chmod g+r)", err)
	case err != nil:
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxFile:
		return "", fmt.Errorf("%s is larger than %d KiB: this is no file of settings", path, maxFile>>10)
	}
	return string(text), nil
}

// Parse validates the text of a file of the given name. It always gives a Config, and with it everything that is wrong
// with the text: nothing, if there are no problems.
func Parse(file, text string) (*Config, Problems) {
	r := &reading{file: file}
	sections, errs := ParseUCI(text, false)
	for _, e := range errs {
		r.problems = append(r.problems, Problem{Position{file, e.Line}, "", e.What, e.Fix})
	}
	c := &Config{}
	b := builder{config: c, r: r, singles: make(map[string]int), points: make(map[ipv6.LinkAddr]string)}
	b.settings(sections)
	sort.Stable(r.problems)
	sort.Stable(r.warnings)
	if n := len(r.problems); n > maxProblems {
		r.problems = append(r.problems[:maxProblems], Problem{Position{File: file}, "", itoa(n-maxProblems) + " more errors follow", "mend these first"})
	}
	c.Warnings = r.warnings
	return c, r.problems
}

// builder puts a Config together from sections.
type builder struct {
	config  *Config
	r       *reading
	singles map[string]int           // line of each section of which there is only one
	points  map[ipv6.LinkAddr]string // whose each access point is
}

// sectionForms tells how each type of section is written.
func sectionForms() map[string]string {
	return map[string]string{
		"roamkey":    "config roamkey 'global'",
		"lke":        "config lke 'lke'",
		"send":       "config send 'send'",
		"fmip":       "config fmip 'fmip'",
		"codepoints": "config codepoints 'codepoints'",
		"link":       "config link 'NAME'",
		"neighbor":   "config neighbor 'NAME'",
	}
}

func (b *builder) settings(sections []Section) {
	c := b.config
	global, lke, numbers := globalTable(&c.Global), lkeTable(&c.LKE), codePointTable(&c.CodePoints)
	send, fast := sendTable(&c.Send), fastTable(&c.Fast)
	for _, t := range []table{global, lke, numbers, send, fast} {
		t.defaults()
	}

	// Links look at the settings of LKE, wherever in the file those stand.
	for _, s := range sections {
		switch s.Type {
		case "roamkey":
			if b.single(s, "global") {
				global.read(b.r, s, s.Type)
			}
		case "lke":
			if b.single(s, "lke") {
				finishLKE(&c.LKE, lke.read(b.r, s, s.Type))
			}
		case "send":
			if b.single(s, "send") {
				finishSend(&c.Send, send.read(b.r, s, s.Type))
			}
		case "fmip":
			if b.single(s, "fmip") {
				finishFast(&c.Fast, fast.read(b.r, s, s.Type))
			}
		case "codepoints":
			if b.single(s, "codepoints") {
				finishCodePoints(&c.CodePoints, numbers.read(b.r, s, s.Type))
			}
		case "link", "neighbor":
		default:
			b.unknown(s)
		}
	}
	finishGlobal(&b.config.Global)
	if b.singles["fmip"] == 0 {
		finishFast(&c.Fast, &place{r: b.r})
	}
	devices, total := make(map[string]Link), 0
	for _, s := range sections {
		switch {
		case s.Type != "link" && s.Type != "neighbor":
		case s.Name == "":
			b.fail(s, "a "+s.Type+" has no name", "write config "+s.Type+" 'NAME'")
		case s.Type == "link":
			total++
			b.link(s, devices)
		default:
			b.neighbor(s)
		}
	}
	switch {
	case total == 0 && len(b.r.problems) == 0:
		b.r.problems = append(b.r.problems, Problem{Position{File: b.r.file}, "", "there is no link to serve", "write config link 'lan', and under it option device 'br-lan'"})
	case len(b.config.Links) == 0 && len(b.r.problems) == 0:
		b.r.warnings = append(b.r.warnings, Problem{Position{File: b.r.file}, "", "no link is enabled, so that nothing is served", "set enabled '1' under a link"})
	}
}

func (b *builder) link(s Section, devices map[string]Link) {
	var l linkSection
	p := linkTable(&l).read(b.r, s, "link "+s.Name)
	l.Name, l.Position = s.Name, Position{b.r.file, s.Line}
	finishLink(&l.Link, p, b.config.LKE)
	if !l.enabled {
		return
	}
	if other, there := devices[l.Device]; there && l.Device != "" {
		p.fail("device", quote(l.Device)+" is served by link "+other.Name+" already (line "+itoa(other.Position.Line)+")", "keep one of the two links")
	}
	devices[l.Device] = l.Link
	sharedPoint(l.AccessPoints, "link "+l.Name, b.points, p)
	for _, other := range b.config.Links {
		sharedPrefix(l.Link, other, p)
	}
	b.config.Links = append(b.config.Links, l.Link)
}

// sharedPrefix refuses one prefix on two links of the same router: its hosts would look for each other in vain.
func sharedPrefix(l, other Link, p *place) {
	for i, mine := range l.RA.Prefixes {
		for _, theirs := range other.RA.Prefixes {
			if mine.Prefix.Overlaps(theirs.Prefix) {
				p.failAt("prefix", i, mine.Prefix.String()+" is also on link "+other.Name+" (line "+itoa(other.Position.Line)+")", "give each link a prefix of its own")
			}
		}
	}
}

func (b *builder) neighbor(s Section) {
	var n Neighbor
	p := neighborTable(&n).read(b.r, s, "neighbor "+s.Name)
	n.Name, n.Position = s.Name, Position{b.r.file, s.Line}
	finishNeighbor(&n, p)
	sharedPoint(n.AccessPoints, "neighbor "+n.Name, b.points, p)
	if other, there := sameNeighbor(b.config.Neighbors, n.Address); there {
		p.fail("address", n.Address.String()+" is neighbor "+other.Name+" already (line "+itoa(other.Position.Line)+")", "keep one of the two")
	}
	b.config.Neighbors = append(b.config.Neighbors, n)
}

// single reports whether s is the first section of a type of which there is one, under its usual name or none.
func (b *builder) single(s Section, name string) bool {
	if first := b.singles[s.Type]; first != 0 {
		b.fail(s, "there are two sections of type "+s.Type+", the first in line "+itoa(first), "put all options under "+sectionForms()[s.Type])
		return false
	}
	b.singles[s.Type] = s.Line
	if s.Name != "" && s.Name != name {
		b.fail(s, "the name of a section of type "+s.Type+" is not "+quote(s.Name), "write "+sectionForms()[s.Type])
	}
	return true
}

func (b *builder) unknown(s Section) {
	forms := sectionForms()
	types := sortedKeys(forms)
	aliases := map[string]string{"global": "roamkey", "daemon": "roamkey", "interface": "link", "network": "link", "neighbour": "neighbor", "ap": "neighbor", "numbers": "codepoints"}
	fix := "write one of " + strings.Join(types, ", ")
	if best := nearest(s.Type, types); best != "" {
		fix = "did you mean " + forms[best] + "?"
	} else if best := aliases[s.Type]; best != "" {
		fix = "did you mean " + forms[best] + "?"
	}
	b.fail(s, "there is no section of type "+quote(s.Type), fix)
}

func (b *builder) fail(s Section, what, fix string) {
	b.r.problems = append(b.r.problems, Problem{Position{b.r.file, s.Line}, "", what, fix})
}

// tables gives all tables, bound to nothing of use.
func tables() []table {
	return []table{
		globalTable(new(Global)), lkeTable(new(LKE)), codePointTable(new(CodePoints)), sendTable(new(Send)), fastTable(new(Fast)), linkTable(new(linkSection)), neighborTable(new(Neighbor)),
	}
}

// elsewhere finds the section, other than that of type here, to which an option belongs.
func elsewhere(option, here string) string {
	for _, t := range tables() {
		if t.typ != here && t.field(option) != nil {
			return sectionForms()[t.typ]
		}
	}
	return ""
}
