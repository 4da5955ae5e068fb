package hostnet

import (
	"os"
	"path/filepath"
	"strings"
)

// sysctls is where the kernel shows the settings of the calling thread's network namespace.
const sysctls = "/proc/sys/net/ipv6/conf"

// sysctl gives the value of a setting of one link, or of "all"; empty if there is none.
func sysctl(link, name string) string {
	if link == "" || strings.ContainsRune(link, '/') {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(sysctls, link, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Forwarding implements View.
func (h *Host) Forwarding(link string) bool {
	v := sysctl(link, "forwarding")
	return v != "" && v != "0"
}

// AcceptRA implements View. A link that forwards takes router advertisements only when accept_ra is 2.
func (h *Host) AcceptRA(link string) bool {
	switch sysctl(link, "accept_ra") {
	case "1":
		return !h.Forwarding(link)
	case "2":
		return true
	}
	return false
}

// HidesDAD implements View.
func (h *Host) HidesDAD(link string) []Finding {
	h.mu.RLock()
	findings := h.mirror.hidesDAD(link)
	h.mu.RUnlock()
	for _, where := range []string{"all", link} {
		if sysctl(where, "proxy_ndp") != "1" {
			continue
		}
		findings = append(findings, Finding{
			Link: link, File: filepath.Join(sysctls, where, "proxy_ndp"), Value: "1",
			Text: "the kernel answers Neighbour Discovery for others, a node's own Duplicate Address Detection too",
			Fix:  "sysctl -w net.ipv6.conf." + where + ".proxy_ndp=0",
		})
	}
	return findings
}

// hidesDAD looks at the ports of the bridge that link is, or that it is a VLAN of.
func (m *mirror) hidesDAD(link string) []Finding {
	s := m.byName(link)
	if s != nil && s.link.Lower != 0 {
		s = m.links[s.link.Lower]
	}
	if s == nil || !s.link.Bridge {
		return nil
	}
	var findings []Finding
	add := func(port, file, text, fix string) {
		findings = append(findings, Finding{
			Link: link, Port: port, File: "/sys/class/net/" + port + "/brport/" + file, Value: "1", Text: text, Fix: fix,
		})
	}
	ports := m.ports(s.link.Index)
	isolated := 0
	for _, p := range ports {
		if p.port.isolated {
			isolated++
		}
	}
	for _, p := range ports {
		name := p.link.Name
		// One isolated port still exchanges frames with all others.
		if p.port.isolated && isolated > 1 {
			add(name, "isolated", "stations behind this port and those behind other isolated ports do not see each other's "+
				"Duplicate Address Detection", "bridge link set dev "+name+" isolated off")
		}
		if p.port.suppress {
			add(name, "neigh_suppress", "the bridge answers solicitations in place of the stations behind this port",
				"bridge link set dev "+name+" neigh_suppress off")
		}
		if p.port.vlanSuppress {
			add(name, "neigh_vlan_suppress", "the bridge may answer solicitations in place of the stations behind this port",
				"bridge link set dev "+name+" neigh_vlan_suppress off")
		}
	}
	return findings
}
