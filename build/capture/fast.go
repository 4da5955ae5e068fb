package main

// Numbers of SEND and fast handovers.
const (
	pathAdvert     = "149"
	fastMessage    = "154"
	fastUpdate     = "8"
	fastAck        = "9"
	initiate       = "14"
	initiateAck    = "15"
	localHopLimit  = "255" // of LKE's messages that have the numbers of fast handovers'
	optSignature   = "12"
	optCertificate = "16"
	optKeyRequest  = "27"
	optKeyReply    = "28"
)

// fastColumns are what is read of SEND and fast handovers.
var fastColumns = []string{
	"ipv6.hlim", "mip6.fbu.a_flag", "mip6.fbu.h_flag", "mip6.fbu.seqnr", "mip6.fback.status", "mip6.fback.seqnr", "mip6.hi.seqnr",
	"mip6.hack.code", "mip6.hack.seqnr",
}

// fastCounts are what a capture of the demo has to have of them.
var fastCounts = []string{
	"signed messages", "certificates", "handover key requests", "handover key replies", "fast binding updates",
	"fast binding acknowledgements", "handover initiates", "handover acknowledgements",
}

// fastJudge judges the messages of SEND and fast handovers, in the order of the capture.
type fastJudge struct {
	count              map[string]int
	updates, initiates map[string]bool // sequence numbers
	fail               func(f frame, format string, args ...any)
}

func (j *fastJudge) judge(f frame) {
	if f.has("icmpv6.opt.type", optSignature) {
		j.count["signed messages"]++
	}
	switch {
	case f.has("icmpv6.type", pathAdvert) && f.has("icmpv6.opt.type", optCertificate):
		j.count["certificates"]++
	case f.has("icmpv6.type", fastMessage) && f.has("icmpv6.opt.type", optKeyRequest):
		j.count["handover key requests"]++
	case f.has("icmpv6.type", fastMessage) && f.has("icmpv6.opt.type", optKeyReply):
		j.count["handover key replies"]++
	}
	if f.has("ipv6.hlim", localHopLimit) {
		return
	}
	switch f["mip6.mhtype"] {
	case fastUpdate:
		j.count["fast binding updates"]++
		if f["mip6.fbu.a_flag"] != "1" || f["mip6.fbu.h_flag"] != "1" || f["ipv6.opt.mipv6.home_address"] == "" {
			j.fail(f, "a fast binding update lacks A, H or its home address")
		}
		j.updates[f["mip6.fbu.seqnr"]] = true
	case fastAck:
		j.count["fast binding acknowledgements"]++
		j.answer(f, "fast binding acknowledgement", j.updates[f["mip6.fback.seqnr"]], f["mip6.fback.status"])
	case initiate:
		j.count["handover initiates"]++
		j.initiates[f["mip6.hi.seqnr"]] = true
	case initiateAck:
		j.count["handover acknowledgements"]++
		j.answer(f, "handover acknowledgement", j.initiates[f["mip6.hack.seqnr"]], f["mip6.hack.code"])
	}
}

func (j *fastJudge) answer(f frame, what string, known bool, code string) {
	switch {
	case !known:
		j.fail(f, "a %s answers nothing that was seen", what)
	case code != "0":
		j.fail(f, "a %s refuses with %s", what, code)
	}
}

// toleratedFast reports whether tshark's verdict comes of what it does not know of the options of handover keys: it calls the
// padding at their end unknown data.
func toleratedFast(f frame) bool {
	return f.has("icmpv6.type", fastMessage) && (f.has("icmpv6.opt.type", optKeyRequest) || f.has("icmpv6.opt.type", optKeyReply))
}

func newFastJudge(count map[string]int, fail func(f frame, format string, args ...any)) *fastJudge {
	return &fastJudge{count: count, updates: make(map[string]bool), initiates: make(map[string]bool), fail: fail}
}
