package fabric

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The MTUs of AWS: inside a region, between regions, toward the internet.
const (
	mtuRegion   = 9001
	mtuInterReg = 8500
	mtuInternet = 1500
)

// tapQueue is how many frames a TAP holds for us; the kernel's 1000 overflow
// uncounted when both cores are busy.
const tapQueue = 8192

// openTAP creates the TAP device ifname inside namespace ns, down and without
// addresses. The device lives as long as the file is open.
func openTAP(ns, ifname string, mac net.HardwareAddr, mtu int) (*os.File, error) {
	var file *os.File
	err := InNS(ns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(ifname)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err == nil {
			err = shapeLink(ifname, mac, mtu)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		file = os.NewFile(uintptr(fd), "tap "+ifname) // nonblocking: driven by the poller
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("create TAP %s in %s: %w", ifname, ns, err)
	}
	return file, nil
}

func shapeLink(ifname string, mac net.HardwareAddr, mtu int) error {
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
		return fmt.Errorf("set address %s: %w", mac, err)
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	if err := netlink.LinkSetTxQLen(link, tapQueue); err != nil {
		return fmt.Errorf("set queue length: %w", err)
	}
	return nil
}

func linkUp(ifname string) error {
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("find %s: %w", ifname, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", ifname, err)
	}
	return nil
}

// configure gives a device addresses and a default route via gateway, which need
// not be on the link, and sets it up.
func configure(ns, ifname string, addrs []netip.Prefix, gateway netip.Addr) error {
	err := InNS(ns, func() error {
		link, err := netlink.LinkByName(ifname)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			addr := &netlink.Addr{IPNet: &net.IPNet{
				IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
			if err := netlink.AddrReplace(link, addr); err != nil {
				return fmt.Errorf("add address %s: %w", a, err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("add default route via %s: %w", gateway, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("configure %s in %s: %w", ifname, ns, err)
	}
	return nil
}
