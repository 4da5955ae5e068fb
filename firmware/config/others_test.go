package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// etc makes a directory of configuration files.
func etc(t *testing.T, files map[string]string) Others {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Others{dir}
}

// network is a usual /etc/config/network of OpenWrt, and one of the older form.
const network = `
config device
	option name 'br-lan'
	option type 'bridge'
	list ports 'lan1'
config interface 'lan'
	option device 'br-lan'
config interface 'guest'
	option type 'bridge'
	option ifname 'eth0.3'
config interface 'wan'
	option device 'eth1'
`

// TestSettingsThatHideDAD (LKE-resolution-w).
func TestSettingsThatHideDAD(t *testing.T) {
	wireless := func(options string) map[string]string {
		return map[string]string{"config/network": network, "config/wireless": "config wifi-device 'radio0'\n\toption isolate '1'\n\nconfig wifi-iface 'default_radio0'\n\toption network 'lan'\n\toption mode 'ap'\n" + options}
	}
	for name, row := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing there":       {nil, ""},
		"usual settings":      {wireless("\toption isolate '0'\n"), ""},
		"isolation":           {wireless("\toption isolate '1'\n"), "ETC/config/wireless:7: wifi-iface default_radio0, option isolate: stations do not see each other's Duplicate Address Detection: uci set wireless.default_radio0.isolate=0"},
		"proxy":               {wireless("\toption proxy_arp 'on'\n"), "ETC/config/wireless:7: wifi-iface default_radio0, option proxy_arp: the access point answers solicitations in place of its stations: uci set wireless.default_radio0.proxy_arp=0"},
		"no multicast":        {wireless("\toption disable_dgaf '1'\n"), "ETC/config/wireless:7: wifi-iface default_radio0, option disable_dgaf: stations get no multicast, and with it no Duplicate Address Detection: uci set wireless.default_radio0.disable_dgaf=0"},
		"not in use":          {wireless("\toption isolate '1'\n\toption disabled '1'\n"), ""},
		"not an access point": {map[string]string{"config/wireless": "config wifi-iface\n\toption mode 'sta'\n\toption network 'lan'\n\toption isolate '1'\n"}, ""},
		"another network":     {map[string]string{"config/network": network, "config/wireless": "config wifi-iface\n\toption network 'guest wan'\n\toption isolate '1'\n"}, ""},
		"several networks, no name, networks not described": {
			map[string]string{"config/wireless": "config wifi-iface\n\toption network 'wan'\n\toption isolate '1'\nconfig wifi-iface\n\tlist network 'guest'\n\tlist network 'lan'\n\toption isolate '1'\n"},
			"ETC/config/wireless:7: wifi-iface @wifi-iface[1], option isolate: stations do not see each other's Duplicate Address Detection: uci set wireless.@wifi-iface[1].isolate=0",
		},
		"hostapd": {
			map[string]string{"hostapd/a.conf": "interface=wlan0\nbridge=br-lan\nap_isolate=1\nbss=wlan1\nproxy_arp=1\nbss=wlan2\nbridge=br-lan\n#proxy_arp=1\nproxy_arp=0\n"},
			"ETC/hostapd/a.conf:3: ap_isolate: stations do not see each other's Duplicate Address Detection: write ap_isolate=0",
		},
	} {
		o := etc(t, row.files)
		found, err := o.HideDAD("br-lan")
		if got := strings.ReplaceAll(found.Error(), o.Dir, "ETC"); got != row.want || err != nil {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

func TestOtherSpeakers(t *testing.T) {
	for name, row := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing there": {nil, ""},
		"odhcpd": {
			map[string]string{"config/network": network, "config/dhcp": "config dhcp 'lan'\n\toption interface 'lan'\n\toption ra 'server'\n\toption dhcpv6 'server'\nconfig dhcp 'wan'\n\toption interface 'wan'\n\toption ra 'relay'\n"},
			"ETC/config/dhcp:3: odhcpd: it advertises on lan, too: uci set dhcp.lan.ra=disabled; uci commit dhcp; /etc/init.d/odhcpd restart",
		},
		"odhcpd as DHCPv6 server only": {map[string]string{"config/dhcp": "config dhcp 'lan'\n\toption interface 'lan'\n\toption ra 'disabled'\n\toption dhcpv6 'server'\n"}, ""},
		"odhcpd that ignores the link": {map[string]string{"config/dhcp": "config dhcp 'lan'\n\toption interface 'lan'\n\toption ra 'server'\n\toption ignore '1'\n"}, ""},
		"radvd": {
			map[string]string{"radvd.conf": "# AdvSendAdvert on;\ninterface eth0 { AdvSendAdvert on; };\ninterface br-lan\n{\n\tprefix 2001:db8::/64 { AdvOnLink on; };\n\tAdvSendAdvert on;\n};\n"},
			"ETC/radvd.conf:6: radvd: it advertises on br-lan, too: write AdvSendAdvert off, and restart radvd",
		},
		"radvd that is off": {map[string]string{"radvd.conf": "interface br-lan { AdvSendAdvert off; };\n"}, ""},
		"networkd": {
			map[string]string{
				"systemd/network/1.network": "[Match]\nName=eth* br-*\n[Network]\nIPv6SendRA=yes\n", "systemd/network/2.network": "[Match]\nName=wan\n[Network]\nIPv6SendRA=yes\n",
				"systemd/network/3.network": "[Match]\nName=br-lan\n[Network]\nIPv6SendRA=no\n",
			},
			"ETC/systemd/network/1.network:4: systemd-networkd: it advertises on br-lan, too: write IPv6SendRA=no, and networkctl reload",
		},
		"dnsmasq": {
			map[string]string{"dnsmasq.conf": "#enable-ra\n", "dnsmasq.d/lan": "dhcp-range=::1,constructor:br-lan,ra-stateless,64\ndhcp-range=192.0.2.1,192.0.2.9\n"},
			"ETC/dnsmasq.d/lan:1: dnsmasq: it may advertise on br-lan, too: write no-dhcp-interface=br-lan, and restart dnsmasq",
		},
		"dnsmasq elsewhere": {map[string]string{"dnsmasq.conf": "enable-ra\nno-dhcp-interface=eth0,br-lan\n"}, ""},
	} {
		o := etc(t, row.files)
		found, err := o.AdvertiseOn("br-lan")
		if got := strings.ReplaceAll(found.Error(), o.Dir, "ETC"); got != row.want || err != nil {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

// TestOthersThatCannotBeRead are named: what they say is not known.
func TestOthersThatCannotBeRead(t *testing.T) {
	o := etc(t, map[string]string{"config/wireless": "config wifi-iface 'x\n"})
	if _, err := o.HideDAD("br-lan"); err == nil || !strings.HasSuffix(err.Error(), "config/wireless:1: a quote is not closed") {
		t.Errorf("got %v", err)
	}
	o = etc(t, map[string]string{"config/dhcp/x": ""})
	if _, err := o.AdvertiseOn("br-lan"); err == nil {
		t.Error("a directory was read")
	}
}
