package fmip

import "strconv"

var effectNames = [...]string{
	EffectSend: "send", EffectSendND: "send-nd", EffectKeyRequest: "key-request", EffectBind: "bind", EffectUnbind: "unbind",
	EffectHold: "hold", EffectDrain: "drain", EffectDiscard: "discard", EffectFreeze: "freeze", EffectProxy: "proxy", EffectUnproxy: "unproxy",
	EffectRoute: "route", EffectUnroute: "unroute", EffectNeighbour: "neighbour", EffectSave: "save", EffectForget: "forget",
	EffectReport: "report",
}

// String is the name of the effect.
func (k EffectKind) String() string {
	if int(k) < len(effectNames) && effectNames[k] != "" {
		return effectNames[k]
	}
	return "unknown"
}

// String tells what the effect is, in one line.
func (e Effect) String() string {
	switch e.Kind {
	case EffectReport:
		return "report " + e.Event.Kind.String() + " " + e.Event.Detail
	case EffectSend, EffectSendND:
		return e.Kind.String() + " " + strconv.Itoa(len(e.Packet)) + " octets on link " + strconv.Itoa(e.Link) + " to " + e.LinkDst.String()
	case EffectBind, EffectUnbind:
		return e.Kind.String() + " " + e.Home.String() + " to " + e.Binding.CareOf.String()
	case EffectSave, EffectForget:
		return e.Kind.String() + " " + e.Record.String()
	}
	return e.Kind.String() + " " + e.Addr.String()
}

// GoString is the same as String.
func (e Effect) GoString() string { return e.String() }

// String names the record.
func (r *Record) String() string {
	if r == nil {
		return "no record"
	}
	return "record of " + r.Addr.String()
}
