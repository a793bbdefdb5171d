package main

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// arpFrame is a gratuitous ARP request (RFC 5944 §4.6), with its Ethernet header: sender and
// target are both addr, so that who knows addr learns mac.
func arpFrame(mac net.HardwareAddr, addr netip.Addr) []byte {
	ip := addr.As4()
	b := make([]byte, 0, 42)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // to everybody
	b = append(b, mac...)
	b = append(b, 0x08, 0x06)                         // ARP
	b = append(b, 0, 1, 0x08, 0x00, 6, 4, 0, 1)       // Ethernet, IPv4, their lengths, request
	b = append(append(b, mac...), ip[:]...)           // sender
	b = append(append(b, 0, 0, 0, 0, 0, 0), ip[:]...) // target
	return b
}

// announce tells the neighbours on dev that addr is here.
func announce(dev, addr string) error {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return err
	}
	if !ip.Is4() {
		return fmt.Errorf("%s: not an IPv4 address", addr)
	}
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return fmt.Errorf("%s: %w", dev, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: ifi.Index}
	if err := unix.Sendto(fd, arpFrame(ifi.HardwareAddr, ip), 0, to); err != nil {
		return fmt.Errorf("%s: send: %w", dev, err)
	}
	return nil
}
