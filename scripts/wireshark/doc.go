// Package wireshark has pfsync.lua, which makes Wireshark and tshark decode
// pfsync, and the tests that run the real tshark on it. How to install it is
// told at the top of that file.
package wireshark
