// Package scapy has pfsync.py, a layer for Scapy with which frames of version
// 6 can be taken apart and made by hand, and its test.
package scapy
