package config

import (
	"reflect"
	"strings"
	"testing"
)

func options(s Section) []string {
	var out []string
	for _, o := range s.Options {
		form := o.Name + "=" + o.Value
		if o.List {
			form = "+" + form
		}
		out = append(out, form)
	}
	return out
}

func TestUCIReadsWhatLibuciReads(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"bare":                           {"option a b", []string{"a=b"}},
		"single quotes are literal":      {`option a 'b "c" \d # e ; f'`, []string{`a=b "c" \d # e ; f`}},
		"double quotes":                  {`option a "b 'c' \"d\" \\ \e # ;"`, []string{`a=b 'c' "d" \ e # ;`}},
		"parts of one word":              {`option a 'it'\''s'"!"x`, []string{`a=it's!x`}},
		"escaped blank":                  {`option a b\ c`, []string{"a=b c"}},
		"comment after a value":          {"option a 'b' # c\noption d e#f", []string{"a=b", "d=e"}},
		"comment right after a quote":    {"option a 'b'#c", []string{"a=b"}},
		"semicolons":                     {"option a b; option c d ;list e f;", []string{"a=b", "c=d", "+e=f"}},
		"list":                           {"list a b\nlist a 'c d'", []string{"+a=b", "+a=c d"}},
		"first letters":                  {"o a b\nl c d", []string{"a=b", "+c=d"}},
		"continued line":                 {"option a \\\n b\noption c d\\\ne", []string{"a=b", "c=de"}},
		"continued line of another host": {"option a \\\r\n b\r\noption c 'd'\r\n", []string{"a=b", "c=d"}},
		"empty value is no option":       {"option a ''\nlist b \"\"", nil},
		"quoted name":                    {`option "a" b`, []string{"a=b"}},
		"tabs and form feeds":            {"\toption\ta\t\f'b'\v", []string{"a=b"}},
		"no line break at the end":       {"option a b", []string{"a=b"}},
		"blank lines and comments":       {"\n  \n#x\n   # option z z\noption a b\n", []string{"a=b"}},
		"octets that are not ASCII":      {"option a 'Küche'", []string{"a=Küche"}},
	} {
		sections, errs := ParseUCI("config t 'n'\n"+row.text, false)
		if len(errs) != 0 || len(sections) != 1 {
			t.Errorf("%s: %v %v", name, sections, errs)
			continue
		}
		if got := options(sections[0]); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestUCISections(t *testing.T) {
	sections, errs := ParseUCI(strings.Join([]string{
		"package roamkey", "config link 'lan'", "option a 1", "", "config link", "option b 2", "config 'link' \"guest\" # x", "config link lan", "option c 3",
	}, "\n"), false)
	if len(errs) != 0 || len(sections) != 3 {
		t.Fatal(sections, errs)
	}
	lan := sections[0]
	if lan.Type != "link" || lan.Name != "lan" || lan.Line != 2 || !reflect.DeepEqual(options(lan), []string{"a=1", "c=3"}) {
		t.Errorf("two sections of one name are one: %+v", lan)
	}
	if lan.Options[0].Line != 3 || lan.Options[1].Line != 9 {
		t.Errorf("lines %+v", lan.Options)
	}
	if sections[1].Name != "" || sections[2].Name != "guest" || sections[2].Line != 7 {
		t.Errorf("%+v", sections[1:])
	}
}

func TestUCIValuesOverLines(t *testing.T) {
	const text = "config t\noption a 'b\nc'\noption d \"e\nf\"\noption g h\n"
	sections, errs := ParseUCI(text, true)
	if len(errs) != 0 || !reflect.DeepEqual(options(sections[0]), []string{"a=b\nc", "d=e\nf", "g=h"}) || sections[0].Options[2].Line != 6 {
		t.Errorf("%+v %v", sections, errs)
	}
	_, errs = ParseUCI(text, false)
	lines := []int{}
	for _, e := range errs {
		lines = append(lines, e.Line)
	}
	if !reflect.DeepEqual(lines[:2], []int{2, 3}) {
		t.Errorf("an open quote is an error of its own line: %v", errs)
	}
}

func TestUCIGet(t *testing.T) {
	s := Section{Options: []Option{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}, {Name: "l", Value: "x y", List: true}, {Name: "l", Value: "z  w"}}}
	if s.Get("a") != "2" || s.Get("none") != "" {
		t.Error("the last value counts")
	}
	if got := s.All("l"); !reflect.DeepEqual(got, []string{"x y", "z", "w"}) {
		t.Errorf("got %q", got)
	}
}

// TestUCIGoesOnAfterAnError: a mistake in one line does not hide those after it, nor does an option slip into the section
// before the one that could not be read.
func TestUCIGoesOnAfterAnError(t *testing.T) {
	sections, errs := ParseUCI("config a 'x'\nconfig b 'open\noption lost 1\nconfig c\noption e 'open\noption f 1\n", false)
	if len(errs) != 2 || errs[0].Line != 2 || errs[1].Line != 5 {
		t.Fatalf("%+v", errs)
	}
	if len(sections) != 2 || len(sections[0].Options) != 0 || !reflect.DeepEqual(options(sections[1]), []string{"f=1"}) {
		t.Errorf("%+v", sections)
	}
}

func TestUCIBoundsItsErrors(t *testing.T) {
	for _, line := range []string{"nonsense\n", "option 'x\n", "\"\\\"\n", "config 'a b' c d\n"} {
		if _, errs := ParseUCI(strings.Repeat(line, 20000), true); len(errs) > maxSyntaxErrors {
			t.Errorf("%q: %d errors", line, len(errs))
		}
	}
}

func FuzzUCI(f *testing.F) {
	f.Add(Reference(), false)
	f.Add("config a 'b'\n\toption c \"d\\\"e\"\n\tlist f g\\\nh # i\n", true)
	f.Add("config a; option b 'c\nd'; list e \\", true)
	f.Add("package x\nconfig\noption\nlist '' ''\noption \x00 y", false)
	f.Fuzz(func(t *testing.T, text string, multiline bool) {
		sections, errs := ParseUCI(text, multiline)
		lines := strings.Count(text, "\n") + 1
		if len(errs) > maxSyntaxErrors {
			t.Fatalf("%d errors", len(errs))
		}
		for _, e := range errs {
			if e.Line < 1 || e.Line > lines || e.What == "" || e.Fix == "" {
				t.Fatalf("error %+v of %d lines", e, lines)
			}
		}
		for _, s := range sections {
			if s.Line < 1 || s.Line > lines || s.Type == "" || !isName(s.Name) {
				t.Fatalf("section %+v of %d lines", s, lines)
			}
			for _, o := range s.Options {
				if o.Line < 1 || o.Line > lines || o.Name == "" || !isName(o.Name) || o.Value == "" || strings.Contains(o.Value, "\x00") {
					t.Fatalf("option %+v of %d lines", o, lines)
				}
				if !multiline && strings.Contains(o.Value, "\n") {
					// only an escaped line break could put one there, and those vanish
					t.Fatalf("value %q holds a line break", o.Value)
				}
			}
		}
		if len(errs) != 0 || multiline {
			return
		}
		// What was read reads the same when it is written the way uci export writes it.
		again, errs := ParseUCI(export(sections), false)
		if len(errs) != 0 || !reflect.DeepEqual(contents(again), contents(sections)) {
			t.Fatalf("%q became %q with %v", contents(sections), contents(again), errs)
		}
	})
}

// export writes sections as uci export does: every value in single quotes.
func export(sections []Section) string {
	escape := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	var b strings.Builder
	for _, s := range sections {
		b.WriteString("\nconfig " + escape(s.Type) + " " + escape(s.Name) + "\n")
		for _, o := range s.Options {
			statement := "\toption "
			if o.List {
				statement = "\tlist "
			}
			b.WriteString(statement + o.Name + " " + escape(o.Value) + "\n")
		}
	}
	return b.String()
}

func contents(sections []Section) []string {
	var out []string
	for _, s := range sections {
		out = append(out, s.Type+"/"+s.Name)
		out = append(out, options(s)...)
	}
	return out
}
