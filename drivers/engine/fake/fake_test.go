package fake

import (
	"testing"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
)

func TestJobsWaitForTheTest(t *testing.T) {
	e := New()
	d := Decrypter{Other: [engine.KeyLen]byte{0xff}}
	if e.Complete(d) {
		t.Error("completed a job that nobody submitted")
	}
	ciphertext := []byte("0123456789abcdef and more")
	for job, c := range [][]byte{ciphertext, ciphertext[:3]} {
		if _, dropped := e.Submit(uint64(job), ipv6.LinkAddr{2}, c); dropped {
			t.Fatal("dropped")
		}
	}
	clear(ciphertext) // the caller's buffer is its own again
	if jobs := e.Jobs(); len(jobs) != 2 || jobs[0].Source != (ipv6.LinkAddr{2}) {
		t.Errorf("jobs %+v", jobs)
	}
	select {
	case <-e.Results():
		t.Error("a result before the job is completed")
	default:
	}
	for job, want := range []string{"0123456789abcdef", string(d.Other[:])} {
		if !e.Complete(d) {
			t.Fatal("no job")
		}
		if r := <-e.Results(); r.Job != uint64(job) || string(r.Key[:]) != want {
			t.Errorf("job %d: key %q, want %q", r.Job, r.Key[:], want)
		}
	}
	e.Full = true
	if lost, dropped := e.Submit(9, ipv6.LinkAddr{2}, nil); !dropped || lost != 9 {
		t.Errorf("a full engine kept job %d", lost)
	}
}
