package station

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// listen turns the kernel's notifications into changes, until Close.
func (s *Station) listen() {
	for {
		messages, err := s.events.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// Notifications were lost. Ask for what counts most.
			if l, err := s.findLink(s.Link().Name); err == nil {
				s.linkChanged(l)
			}
			continue
		case err != nil:
			return // closed
		}
		for _, m := range messages {
			s.notified(m)
		}
	}
}

func (s *Station) notified(m netlink.Message) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK:
		if l, ok := decodeLink(m.Data); ok {
			s.linkChanged(l)
		}
	case unix.RTM_DELLINK:
		if l, ok := decodeLink(m.Data); ok && l.Index == s.Link().Index && m.Data[0] == unix.AF_UNSPEC {
			s.mu.Lock()
			s.link.Up = false
			s.tell(Change{Kind: LinkGone})
			s.mu.Unlock()
		}
	case unix.RTM_NEWADDR:
		if a, ok := decodeAddress(m.Data); ok {
			s.addressChanged(a)
		}
	case unix.RTM_DELADDR:
		if a, ok := decodeAddress(m.Data); ok {
			s.addressGone(a)
		}
	}
}

func (s *Station) linkChanged(l Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.Index != s.link.Index {
		return
	}
	was := s.link.Up
	if l.Name == "" { // bridge and other families' messages about the interface say less
		return
	}
	l.LinkLocal = s.link.LinkLocal
	s.link = l
	switch {
	case l.Up && !was:
		s.tell(Change{Kind: LinkUp})
	case !l.Up && was:
		s.tell(Change{Kind: LinkDown})
	}
}

func (s *Station) addressChanged(a address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.index != s.link.Index {
		return
	}
	s.noteLinkLocal(a)
	if _, ours := s.addresses[a.addr]; !ours {
		return
	}
	switch {
	case a.flags&unix.IFA_F_DADFAILED != 0:
		// The kernel keeps a duplicate without using it; it would be in the way of another attempt.
		_ = s.removeAddress(a.addr)
		s.tell(Change{Kind: AddressDuplicate, Addr: a.addr})
	case a.flags&unix.IFA_F_TENTATIVE == 0 || a.flags&unix.IFA_F_OPTIMISTIC != 0:
		s.ready(a.addr)
	}
}

func (s *Station) noteLinkLocal(a address) {
	if a.addr.IsLinkLocalUnicast() && a.flags&unix.IFA_F_DADFAILED == 0 {
		s.link.LinkLocal = a.addr
	}
}

// addressGone notices that somebody else, or the kernel, took an address of ours away.
func (s *Station) addressGone(a address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.addresses[a.addr]; !ours || a.index != s.link.Index {
		return
	}
	delete(s.addresses, a.addr)
	if a.flags&unix.IFA_F_DADFAILED != 0 {
		s.tell(Change{Kind: AddressDuplicate, Addr: a.addr})
	}
}
