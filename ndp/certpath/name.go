package certpath

import (
	"encoding/hex"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds of a name.
const (
	maxAttributes = 32
	maxNameText   = 512 // octets of its text for people
)

// Name is the X.501 name of an issuer or a subject (RFC 5280 section 4.1.2.4): its DER. Names are compared by octets.
type Name []byte

// attribute is one part of a name.
type attribute struct {
	kind  OID
	tag   asn1.Tag
	value cryptobyte.String
	der   cryptobyte.String // of the value, with its head
}

// String types that package asn1 has no name for.
const (
	tagNumericString = asn1.Tag(18)
	tagBMPString     = asn1.Tag(30)
)

// readName reads a name of known string types.
func readName(s *cryptobyte.String) (Name, bool) {
	var name, sets cryptobyte.String
	if !s.ReadASN1Element(&name, asn1.SEQUENCE) {
		return nil, false
	}
	inside := name
	if !inside.ReadASN1(&sets, asn1.SEQUENCE) {
		return nil, false
	}
	for n := 0; !sets.Empty(); {
		var set cryptobyte.String
		if !sets.ReadASN1(&set, asn1.SET) || set.Empty() {
			return nil, false
		}
		for ; !set.Empty(); n++ {
			if a, ok := readAttribute(&set); !ok || n == maxAttributes || !a.isText() {
				return nil, false
			}
		}
	}
	return Name(name), true
}

func readAttribute(set *cryptobyte.String) (a attribute, ok bool) {
	var pair cryptobyte.String
	if !set.ReadASN1(&pair, asn1.SEQUENCE) {
		return a, false
	}
	if a.kind, ok = readOID(&pair); !ok || !pair.ReadAnyASN1Element(&a.der, &a.tag) || !pair.Empty() {
		return a, false
	}
	element := a.der
	return a, element.ReadAnyASN1(&a.value, &a.tag)
}

// isText reports whether the value has the characters that its type may have.
func (a *attribute) isText() bool {
	var allowed func(c byte) bool
	switch a.tag {
	case asn1.UTF8String:
		return utf8.Valid(a.value)
	case asn1.T61String: // read as Latin-1, as everybody does
		return true
	case tagBMPString:
		if len(a.value)%2 != 0 {
			return false
		}
		for i := 0; i < len(a.value); i += 2 {
			r := rune(a.value[i])<<8 | rune(a.value[i+1])
			// Surrogates and what Unicode never gives to a character.
			if r >= 0xd800 && r <= 0xdfff || r >= 0xfdd0 && r <= 0xfdef || r >= 0xfffe {
				return false
			}
		}
		return true
	case asn1.PrintableString:
		allowed = isPrintable
	case asn1.IA5String:
		allowed = func(c byte) bool { return c < utf8.RuneSelf }
	case tagNumericString:
		allowed = func(c byte) bool { return c == ' ' || c >= '0' && c <= '9' }
	default:
		return false
	}
	for _, c := range a.value {
		if !allowed(c) {
			return false
		}
	}
	return true
}

// isPrintable tells the characters of a PrintableString, and the two that others put there.
func isPrintable(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= '\'' && c <= ')', c >= '+' && c <= '/':
		return true
	}
	return c == ' ' || c == ':' || c == '=' || c == '?' || c == '*' || c == '&'
}

// text gives the value in UTF-8.
func (a *attribute) text() []byte {
	switch a.tag {
	case asn1.T61String:
		var text []byte
		for _, c := range a.value {
			text = utf8.AppendRune(text, rune(c))
		}
		return text
	case tagBMPString:
		var text []byte
		for i := 0; i+1 < len(a.value); i += 2 {
			r := rune(a.value[i])<<8 | rune(a.value[i+1])
			if r == 0 && i+2 == len(a.value) {
				break // some end with a zero
			}
			text = utf8.AppendRune(text, r)
		}
		return text
	}
	return a.value
}

// attributeName gives the short name of an attribute (RFC 4514 section 3, and some that are as usual), "" if it has none.
func attributeName(kind OID) string {
	if len(kind) != 3 || kind[:2] != oidCommonName[:2] {
		return ""
	}
	switch kind[2] {
	case 3:
		return "CN"
	case 5:
		return "SERIALNUMBER"
	case 6:
		return "C"
	case 7:
		return "L"
	case 8:
		return "ST"
	case 9:
		return "STREET"
	case 10:
		return "O"
	case 11:
		return "OU"
	case 17:
		return "POSTALCODE"
	}
	return ""
}

// String gives the name for people (RFC 4514): the last part first, and whatever is no printable ASCII as octets in hex, so that
// it is fit for a terminal. A very long one is cut.
func (n Name) String() string {
	var sets [maxAttributes]cryptobyte.String
	var list cryptobyte.String
	der := cryptobyte.String(n)
	if !der.ReadASN1(&list, asn1.SEQUENCE) {
		return ""
	}
	count := 0
	for count < len(sets) && list.ReadASN1(&sets[count], asn1.SET) {
		count++
	}
	var text []byte
	for i := count - 1; i >= 0; i-- {
		separator := byte(',')
		for !sets[i].Empty() {
			a, ok := readAttribute(&sets[i])
			if !ok {
				return ""
			}
			if text != nil {
				text = append(text, separator)
			}
			text = a.append(text)
			separator = '+'
			if len(text) > maxNameText {
				return string(text[:maxNameText]) + "..."
			}
		}
	}
	return string(text)
}

// append adds the attribute to a text.
func (a *attribute) append(text []byte) []byte {
	name := attributeName(a.kind)
	if name == "" {
		text = append(append(text, a.kind.String()...), "=#"...)
		return hex.AppendEncode(text, a.der)
	}
	text = append(append(text, name...), '=')
	value := a.text()
	for i, c := range value {
		switch {
		case c < ' ' || c > '~':
			text = append(text, '\\', hexDigits[c>>4], hexDigits[c&15])
			continue
		case c == ',' || c == '+' || c == '"' || c == '\\' || c == '<' || c == '>' || c == ';',
			c == '#' && i == 0, c == ' ' && (i == 0 || i == len(value)-1):
			text = append(text, '\\')
		}
		text = append(text, c)
	}
	return text
}

const hexDigits = "0123456789ABCDEF"
