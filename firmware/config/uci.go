package config

import "strings"

// Section is one "config" block of a UCI file.
type Section struct {
	Type    string
	Name    string // empty for an anonymous section
	Line    int    // of the word config, from 1
	Options []Option
}

// Option is one "option" or "list" statement. A list of three values is three of them.
type Option struct {
	Name  string
	Value string
	List  bool
	Line  int
}

// Get gives the value of a section's option as UCI sees it: the last one that is written, and "" where there is none.
func (s *Section) Get(name string) string {
	value := ""
	for _, o := range s.Options {
		if o.Name == name {
			value = o.Value
		}
	}
	return value
}

// All gives every value of a list. As OpenWrt's own scripts do, it also takes an option with values between blanks.
func (s *Section) All(name string) []string {
	var values []string
	for _, o := range s.Options {
		if o.Name != name {
			continue
		}
		if o.List {
			values = append(values, o.Value)
		} else {
			values = append(values, strings.Fields(o.Value)...)
		}
	}
	return values
}

// SyntaxError is one place of a UCI text that cannot be read, with what would be right there.
type SyntaxError struct {
	Line      int
	What, Fix string
}

// maxSyntaxErrors ends the reading of what is clearly no UCI text.
const maxSyntaxErrors = 100

// ParseUCI reads the grammar of libuci: the statements package, config, option and list (or their first letters), one on
// a line or several between semicolons; values bare, in single quotes (all is literal), in double quotes (a backslash
// takes the next character as it is), or in several such parts without a blank between them; # starts a comment
// anywhere outside quotes; a backslash at the end of a line continues it. An empty value stands for an option that is
// not there, and two sections of one name are one, as in libuci.
//
// With multiline a quoted value may hold line breaks. Without it a quote that its line does not close is an error of that
// line: reading goes on with the next one, so that one missing quote does not hide the errors that follow.
func ParseUCI(text string, multiline bool) ([]Section, []SyntaxError) {
	p := uciParser{text: text, line: 1, multiline: multiline, current: -1, named: make(map[string]int)}
	for p.pos < len(p.text) && len(p.errs) < maxSyntaxErrors {
		p.statement()
	}
	return p.sections, p.errs
}

type uciParser struct {
	text      string
	pos, line int
	multiline bool
	sections  []Section
	current   int            // index of the open section, or -1
	skipping  bool           // the open section could not be read: its options are passed over in silence
	named     map[string]int // index of each named section
	errs      []SyntaxError
}

// word is one argument of a statement.
type word struct {
	text   string
	line   int
	quoted bool
}

// statement reads up to the end of one statement: a line break, a semicolon or the end of the text.
func (p *uciParser) statement() {
	var words []word
	for {
		w, more, ok := p.next()
		if !ok {
			p.skipLine()
			if len(words) > 0 && isConfig(words[0].text) {
				p.current, p.skipping = -1, true
			}
			return
		}
		if !more {
			break
		}
		if strings.IndexByte(w.text, 0) >= 0 {
			p.fail(w.line, "the line holds a zero octet", "this is no text file: restore it from a copy")
			p.skipLine()
			return
		}
		words = append(words, w)
	}
	if len(words) > 0 {
		p.execute(words)
	}
}

// next reads one word. more is false at the end of the statement, which it has then passed; ok is false after an error
// of quoting that was reported.
func (p *uciParser) next() (w word, more, ok bool) {
	if !p.skipBlanks() {
		return word{}, false, true
	}
	w.line = p.line
	var b strings.Builder
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '\'' || c == '"':
			w.quoted = true
			if !p.quotedPart(&b, c) {
				return word{}, false, false
			}
		case c == '\\':
			p.escape(&b)
		case c == '#' || c == ';' || isBlank(c):
			w.text = b.String()
			return w, true, true
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	w.text = b.String()
	return w, true, true
}

// skipBlanks goes to the next word of the statement, over continued lines. It returns false at the statement's end,
// which it passes.
func (p *uciParser) skipBlanks() bool {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '\n':
			p.pos++
			p.line++
			return false
		case c == ';':
			p.pos++
			return false
		case c == '#':
			p.skipLine()
			return false
		case isBlank(c):
			p.pos++
		case c == '\\' && p.lineBreakAt(p.pos+1) > 0:
			p.pos += 1 + p.lineBreakAt(p.pos+1)
			p.line++
		default:
			return true
		}
	}
	return false
}

// quotedPart reads from one quote to the next.
func (p *uciParser) quotedPart(b *strings.Builder, quote byte) bool {
	startPos, startLine := p.pos, p.line
	for p.pos++; p.pos < len(p.text); {
		switch c := p.text[p.pos]; {
		case c == quote:
			p.pos++
			return true
		case c == '\\' && quote == '"':
			p.escape(b)
		case c == '\n' && !p.multiline:
			p.fail(startLine, "a quote is not closed on this line", "end the value with "+string(quote))
			return false
		default:
			if c == '\n' {
				p.line++
			}
			b.WriteByte(c)
			p.pos++
		}
	}
	p.fail(startLine, "a quote is not closed", "end the value with "+string(quote))
	p.pos, p.line = startPos, startLine
	return false
}

// escape reads a backslash and what follows: the next character as it is, or nothing for a line break.
func (p *uciParser) escape(b *strings.Builder) {
	p.pos++
	if n := p.lineBreakAt(p.pos); n > 0 {
		p.pos += n
		p.line++
		return
	}
	if p.pos < len(p.text) {
		b.WriteByte(p.text[p.pos])
		p.pos++
	}
}

// lineBreakAt gives the length of the line break at pos, 0 if there is none.
func (p *uciParser) lineBreakAt(pos int) int {
	switch rest := p.text[min(pos, len(p.text)):]; {
	case strings.HasPrefix(rest, "\n"):
		return 1
	case strings.HasPrefix(rest, "\r\n"):
		return 2
	}
	return 0
}

func (p *uciParser) skipLine() {
	end := strings.IndexByte(p.text[p.pos:], '\n')
	if end < 0 {
		p.pos = len(p.text)
		return
	}
	p.pos += end + 1
	p.line++
}

func (p *uciParser) fail(line int, what, fix string) {
	p.errs = append(p.errs, SyntaxError{Line: line, What: what, Fix: fix})
}

// execute carries out one statement.
func (p *uciParser) execute(words []word) {
	command, args, line := words[0], words[1:], words[0].line
	if command.quoted {
		p.fail(line, "a line starts with "+quote(command.text), "start it with config, option or list, without quotes")
		return
	}
	switch command.text {
	case "package", "p":
		if len(args) != 1 {
			p.fail(line, "package takes one name", "write package roamkey, or leave the line out")
		}
	case "config", "c": // see isConfig
		p.config(line, args)
	case "option", "o", "list", "l":
		p.option(line, command.text[0] == 'l', args)
	default:
		p.fail(line, "a line starts with "+quote(command.text), "start it with config, option or list"+
			didYouMean(command.text, []string{"config", "option", "list", "package"}))
	}
}

func (p *uciParser) config(line int, args []word) {
	p.current, p.skipping = -1, true
	switch {
	case len(args) == 0 || args[0].text == "":
		p.fail(line, "config has no type", "write config TYPE 'NAME'")
		return
	case len(args) > 2:
		p.fail(line, "config has more than a type and a name", "write config TYPE 'NAME', with quotes around a name that has blanks")
		return
	case !isPrintable(args[0].text):
		p.fail(line, "the section's type "+quote(args[0].text)+" has characters that UCI does not allow", "use letters, digits and _")
		return
	}
	s := Section{Type: args[0].text, Line: line}
	if len(args) == 2 {
		s.Name = args[1].text
	}
	if s.Name != "" && !isName(s.Name) {
		p.fail(line, "the section's name "+quote(s.Name)+" has characters that UCI does not allow", "use letters, digits and _")
		return
	}
	p.skipping = false
	if at, there := p.named[s.Name]; there && s.Name != "" {
		if first := p.sections[at]; first.Type != s.Type {
			p.skipping = true
			p.fail(line, "the name "+quote(s.Name)+" belongs to a section of type "+first.Type+" (line "+itoa(first.Line)+")", "give each section a name of its own")
			return
		}
		p.current = at
		return
	}
	p.sections = append(p.sections, s)
	p.current = len(p.sections) - 1
	if s.Name != "" {
		p.named[s.Name] = p.current
	}
}

func (p *uciParser) option(line int, list bool, args []word) {
	statement := "option"
	if list {
		statement = "list"
	}
	switch {
	case len(args) == 0 || args[0].text == "":
		p.fail(line, statement+" has no name", "write "+statement+" NAME 'VALUE'")
		return
	case !isName(args[0].text):
		p.fail(line, "the name "+quote(args[0].text)+" has characters that UCI does not allow", "use letters, digits and _")
		return
	case len(args) == 1:
		p.fail(line, statement+" "+args[0].text+" has no value", "write "+statement+" "+args[0].text+" 'VALUE'")
		return
	case len(args) > 2:
		p.fail(line, statement+" "+args[0].text+" has more than one value", "put quotes around a value that has blanks; write one list line for each of several")
		return
	case p.skipping:
		return
	case p.current < 0:
		p.fail(line, statement+" "+args[0].text+" stands before the first section", "put it under a line such as config link 'lan'")
		return
	}
	if args[1].text == "" {
		return
	}
	s := &p.sections[p.current]
	s.Options = append(s.Options, Option{Name: args[0].text, Value: args[1].text, List: list, Line: line})
}

func isConfig(command string) bool { return command == "config" || command == "c" }

// isBlank says what ends a bare word (isspace in libuci, but for the line break, which ends the statement).
func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' || c == '\n'
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 33 || s[i] > 126 {
			return false
		}
	}
	return true
}
