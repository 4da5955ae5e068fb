package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Others looks into the configuration of other programs for what works against this one.
type Others struct {
	// Dir is where that stands: /etc.
	Dir string
}

// HideDAD names each setting that keeps Duplicate Address Detection from reaching all stations on a device (resolution w):
// client isolation, and an access point that answers in place of its stations. It reads OpenWrt's wireless settings and
// hostapd's own files. The error tells which files are there and could not be read; what was found counts nevertheless.
func (o Others) HideDAD(device string) (Problems, error) {
	found, err := o.wireless(device)
	more, err2 := o.hostapd(device)
	return append(found, more...), errors.Join(err, err2)
}

// hiding tells what the settings of an access point do; the names are those of hostapd, and of OpenWrt where it has others.
func hiding() map[string]string {
	const isolation = "stations do not see each other's Duplicate Address Detection"
	const proxy = "the access point answers solicitations in place of its stations"
	return map[string]string{
		"isolate": isolation, "ap_isolate": isolation, "bridge_isolate": isolation,
		"proxy_arp":    proxy,
		"disable_dgaf": "stations get no multicast, and with it no Duplicate Address Detection",
	}
}

// wireless reads OpenWrt's /etc/config/wireless.
func (o Others) wireless(device string) (Problems, error) {
	file := filepath.Join(o.Dir, "config", "wireless")
	sections, err := readUCI(file)
	if err != nil || sections == nil {
		return nil, err
	}
	networks, err := o.networks()
	var found Problems
	index := -1
	for _, s := range sections {
		if s.Type != "wifi-iface" {
			continue
		}
		index++
		if mode := s.Get("mode"); isOn(s.Get("disabled")) || mode != "ap" && mode != "" {
			continue
		}
		if s.Get("ifname") != device && !slices.ContainsFunc(s.All("network"), func(n string) bool { return networks.on(n, device) }) {
			continue
		}
		name := s.Name
		if name == "" {
			name = fmt.Sprintf("@wifi-iface[%d]", index)
		}
		for _, option := range s.Options {
			if what := hiding()[option.Name]; what != "" && isOn(option.Value) {
				found = append(found, Problem{
					Position{file, option.Line}, "wifi-iface " + name + ", option " + option.Name, what,
					"uci set wireless." + name + "." + option.Name + "=0",
				})
			}
		}
	}
	return found, err
}

// hostapd reads /etc/hostapd/*.conf. One file may hold several networks, each from a line bss= on.
func (o Others) hostapd(device string) (Problems, error) {
	var found Problems
	var errs []error
	for _, file := range glob(filepath.Join(o.Dir, "hostapd", "*.conf")) {
		text, err := readOther(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var network Problems
		served := false
		end := func() {
			if served {
				found = append(found, network...)
			}
			network, served = nil, false
		}
		for i, line := range strings.Split(text, "\n") {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch {
			case key == "bss":
				end()
				served = value == device
			case key == "interface" || key == "bridge":
				served = served || value == device
			case hiding()[key] != "" && value != "0":
				network = append(network, Problem{Position{file, i + 1}, "", key + ": " + hiding()[key], "write " + key + "=0"})
			}
		}
		end()
	}
	return found, errors.Join(errs...)
}

// AdvertiseOn names each program that is configured to send router advertisements on a device. Problem.Where names the
// program. There may be only one that does.
func (o Others) AdvertiseOn(device string) (Problems, error) {
	var found Problems
	var errs []error
	for _, read := range []func(string) (Problems, error){o.odhcpd, o.radvd, o.networkd, o.dnsmasq} {
		more, err := read(device)
		found, errs = append(found, more...), append(errs, err)
	}
	return found, errors.Join(errs...)
}

// odhcpd reads OpenWrt's /etc/config/dhcp.
func (o Others) odhcpd(device string) (Problems, error) {
	file := filepath.Join(o.Dir, "config", "dhcp")
	sections, err := readUCI(file)
	if err != nil || sections == nil {
		return nil, err
	}
	networks, err := o.networks()
	var found Problems
	for _, s := range sections {
		network := s.Get("interface")
		if s.Type != "dhcp" || isOn(s.Get("ignore")) || network == "" || !networks.on(network, device) {
			continue
		}
		for _, option := range s.Options {
			if option.Name == "ra" && slices.Contains([]string{"server", "relay", "hybrid"}, option.Value) {
				name := s.Name
				if name == "" {
					name = network
				}
				found = append(found, Problem{
					Position{file, option.Line}, "odhcpd", "it advertises on " + network + ", too",
					"uci set dhcp." + name + ".ra=disabled; uci commit dhcp; /etc/init.d/odhcpd restart",
				})
			}
		}
	}
	return found, err
}

// radvd reads /etc/radvd.conf: interface NAME { AdvSendAdvert on; ... };
func (o Others) radvd(device string) (Problems, error) {
	file := filepath.Join(o.Dir, "radvd.conf")
	text, err := readOther(file)
	if err != nil {
		return nil, err
	}
	var found Problems
	var words []string
	name, depth := "", 0
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for _, sign := range []string{"{", "}", ";"} {
			line = strings.ReplaceAll(line, sign, " "+sign+" ")
		}
		for _, word := range strings.Fields(line) {
			switch word {
			case "{":
				if depth++; depth == 1 && len(words) == 2 && words[0] == "interface" {
					name = words[1]
				}
				words = nil
			case "}":
				depth--
				words = nil
			case ";":
				if depth == 1 && name == device && slices.Equal(words, []string{"AdvSendAdvert", "on"}) {
					found = append(found, Problem{Position{file, i + 1}, "radvd", "it advertises on " + device + ", too", "write AdvSendAdvert off, and restart radvd"})
				}
				words = nil
			default:
				words = append(words, word)
			}
		}
	}
	return found, nil
}

// networkd reads systemd's /etc/systemd/network/*.network: [Match] Name=, [Network] IPv6SendRA=.
func (o Others) networkd(device string) (Problems, error) {
	var found Problems
	var errs []error
	for _, file := range glob(filepath.Join(o.Dir, "systemd", "network", "*.network")) {
		text, err := readOther(file)
		errs = append(errs, err)
		section, matches := "", false
		for i, line := range strings.Split(text, "\n") {
			line = strings.TrimSpace(line)
			key, value, _ := strings.Cut(line, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			switch {
			case strings.HasPrefix(line, "["):
				section = line
			case section == "[Match]" && key == "Name":
				matches = slices.ContainsFunc(strings.Fields(value), func(pattern string) bool {
					ok, err := path.Match(pattern, device)
					return ok && err == nil
				})
			case section == "[Network]" && (key == "IPv6SendRA" || key == "IPv6PrefixDelegation") && matches && isOn(value):
				found = append(found, Problem{Position{file, i + 1}, "systemd-networkd", "it advertises on " + device + ", too", "write " + key + "=no, and networkctl reload"})
			}
		}
	}
	return found, errors.Join(errs...)
}

// dnsmasq reads /etc/dnsmasq.conf and /etc/dnsmasq.d: it advertises on each interface that it serves once enable-ra or such a
// range stands there. Which interfaces those are follows from addresses, so that all are named here but those left out.
func (o Others) dnsmasq(device string) (Problems, error) {
	var found Problems
	var errs []error
	excluded := false
	for _, file := range append(glob(filepath.Join(o.Dir, "dnsmasq.conf")), glob(filepath.Join(o.Dir, "dnsmasq.d", "*"))...) {
		text, err := readOther(file)
		errs = append(errs, err)
		for i, line := range strings.Split(text, "\n") {
			line, _, _ = strings.Cut(line, "#")
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values := strings.Split(value, ",")
			switch strings.TrimSpace(key) {
			case "except-interface", "no-dhcp-interface":
				excluded = excluded || slices.Contains(values, device)
			case "dhcp-range":
				if !slices.ContainsFunc(values, func(v string) bool {
					return slices.Contains([]string{"ra-only", "slaac", "ra-names", "ra-stateless", "ra-advrouter"}, strings.TrimSpace(v))
				}) {
					continue
				}
				fallthrough
			case "enable-ra":
				found = append(found, Problem{Position{file, i + 1}, "dnsmasq", "it may advertise on " + device + ", too", "write no-dhcp-interface=" + device + ", and restart dnsmasq"})
			}
		}
	}
	if excluded {
		found = nil
	}
	return found, errors.Join(errs...)
}

// networks are the devices of OpenWrt's logical networks.
type networks map[string][]string

// networks reads OpenWrt's /etc/config/network.
func (o Others) networks() (networks, error) {
	sections, err := readUCI(filepath.Join(o.Dir, "config", "network"))
	all := make(networks)
	for _, s := range sections {
		if s.Type != "interface" || s.Name == "" {
			continue
		}
		devices := append(s.All("device"), s.All("ifname")...)
		if s.Get("type") == "bridge" { // the form before OpenWrt 21.02
			devices = []string{"br-" + s.Name}
		}
		all[s.Name] = append(all[s.Name], devices...)
	}
	return all, err
}

// on reports whether a logical network is on that device. Of a network that is not described the usual names are taken.
func (n networks) on(network, device string) bool {
	devices, known := n[network]
	if !known {
		devices = []string{network, "br-" + network}
	}
	return slices.Contains(devices, device)
}

func isOn(value string) bool {
	var on bool
	return setBool(&on, value) == nil && on
}

// readUCI reads a file of another program, which may hold values over several lines. A file that is not there is empty.
func readUCI(file string) ([]Section, error) {
	text, err := readOther(file)
	if err != nil || text == "" {
		return nil, err
	}
	sections, errs := ParseUCI(text, true)
	if len(errs) > 0 {
		return sections, fmt.Errorf("%s:%d: %s", file, errs[0].Line, errs[0].What)
	}
	return sections, nil
}

// readOther reads a file of another program; one that is not there is empty.
func readOther(file string) (string, error) {
	text, err := readFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("open %s: %w", file, fs.ErrPermission)
	}
	return text, err
}

// glob is for patterns that are right.
func glob(pattern string) []string {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		return err == nil && !info.Mode().IsRegular()
	})
}
