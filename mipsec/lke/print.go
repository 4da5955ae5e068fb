package lke

import "strconv"

var effectNames = [...]string{
	EffectSend: "send", EffectDecrypt: "decrypt", EffectEncrypt: "encrypt", EffectBind: "bind", EffectUnbind: "unbind",
	EffectSave: "save", EffectForget: "forget", EffectWatch: "watch", EffectUnwatch: "unwatch",
	EffectConfigure: "configure", EffectRelease: "release", EffectReport: "report",
}

// String is the name of the effect.
func (k EffectKind) String() string {
	if int(k) < len(effectNames) && effectNames[k] != "" {
		return effectNames[k]
	}
	return "unknown"
}

// String tells what the input is, without the key that it may hold.
func (in Input) String() string {
	return "input " + strconv.Itoa(int(in.Kind)) + " for " + in.Home.String()
}

// GoString hides the key from %#v.
func (in Input) GoString() string { return in.String() }

// String tells what the effect is, without the key that it may hold.
func (e Effect) String() string {
	switch e.Kind {
	case EffectReport:
		return "report " + e.Event.Kind.String() + " " + e.Event.Detail
	case EffectSend:
		return "send " + strconv.Itoa(len(e.Packet)) + " octets on link " + strconv.Itoa(e.Link) + " to " + e.LinkDst.String()
	}
	return e.Kind.String() + " " + e.Home.String()
}

// GoString hides the key from %#v.
func (e Effect) GoString() string { return e.String() }

// String names the node; it keeps its keys from %v.
func (n *Node) String() string { return "node " + n.cfg.Hardware.String() }

// GoString keeps the keys from %#v.
func (n *Node) GoString() string { return n.String() }
