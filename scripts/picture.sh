#!/usr/bin/env bash
# picture.sh [FILE]: make scripts/picture.svg, the picture in README.md: status,
# monitor and top as an operator of two firewalls sees them.
#
# All of it is captured from a running pair in network namespaces of its own
# (topology.sh draws them), which are gone afterwards.  `make picture` builds what
# it needs; tmux is the terminal.  Numbers differ from one time to the next.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/topology.sh
. "$here/topology.sh"

COLUMNS_SHOWN=88

die() {
	echo "picture.sh: $*" >&2
	exit 1
}

# quiet HOST COMMAND...: with the programs and the run directory of the host.
quiet() {
	local host=$1
	shift
	PFSYNC_RUNDIR=$dir/$host PATH=$here/../bin:$PATH on "$host" "$@"
}

# until_true SECONDS WHAT COMMAND...: poll.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || die "$what"
		sleep 0.05
	done
}

listening() { on server ss -Hltn 'sport = :80' | grep -q .; }

# connection: one line there and back.
connection() {
	on client bash -c "exec 3<>/dev/tcp/$TOPO_SERVER/80 && printf 'talk\nhello\n' >&3 && head -n 1 <&3" >/dev/null
}

# swell: more connections and fewer, for a sparkline that rises and falls.
swell() {
	local n i
	while :; do
		for n in 1 2 4 7 9 8 5 3 2 1; do
			for ((i = 0; i < n; i++)); do connection; done
			sleep 0.7
		done
	done
}

tm() { env -u TMUX LC_ALL=C.UTF-8 tmux -f /dev/null -S "$dir/tmux" "$@"; }

screen_has() { tm capture-pane -p | grep -q "$1"; }

# capture: status, monitor and top into files.
capture() {
	quiet fw-b pfsyncctl pfsync0 monitor --direction in --action INS -c 2 >"$dir/monitor" 2>"$dir/monitor.err" &
	local monitor=$!
	swell &
	tm new-session -d -x "$COLUMNS_SHOWN" -y 16 "ip netns exec $TOPO-fw-a env TERM=screen-256color PFSYNC_RUNDIR=$dir/fw-a $here/../bin/pfsyncctl pfsync0 top -s 0.5"
	until_true 20 "top shows nothing" screen_has 'msg/s'
	sleep 14 # for the sparkline to fill
	tm capture-pane -p -e >"$dir/top"
	tm kill-server
	wait "$monitor" || die "monitor: $(cat "$dir/monitor.err")"
	quiet fw-a pfsyncctl pfsync0 >"$dir/status"
}

# The picture: a line of text each, drawn on a dark ground.  Escape sequences of
# tmux become the class of the line; textLength keeps columns in any font.
draw() {
	{
		printf 'P\tA# pfsyncctl pfsync0\n'
		sed 's/^/L\t/' "$dir/status"
		printf 'L\t\nP\tB# pfsyncctl pfsync0 monitor --direction in --action INS\n'
		sed 's/^/L\t/' "$dir/monitor"
		printf 'L\t\nP\tA# pfsyncctl pfsync0 top\n'
		sed 's/^/L\t/' "$dir/top"
	} | perl -CS -ne '
		BEGIN { $cols = '"$COLUMNS_SHOWN"'; $cell = 8.4; $row = 17 }
		chomp;
		my ($kind, $s) = split /\t/, $_, 2;
		1 while $s =~ s/\t/" " x (8 - $-[0] % 8)/e;
		my $class = $kind eq "P" ? "p" : $s =~ /\e\[[0-9;]*7m/ ? "t" : $s =~ /\e\[[0-9;]*2m/ ? "f" : "";
		$s =~ s/\e\[[0-9;]*m|\e\([A-Z]|\017//g;
		$s =~ s/ +$//;
		my $y = 26 + $row * $n++;
		$body .= sprintf qq(<rect x="12" y="%d" width="%.1f" height="%d" fill="#c8d0d8"/>\n), $y - 13, $cols * $cell, $row if $class eq "t";
		next if $s eq "";
		my $x = 12 + ($s =~ s/^( +)// ? length($1) * $cell : 0);
		my $wide = length($s) * $cell;
		$s =~ s/&/&amp;/g; $s =~ s/</&lt;/g; $s =~ s/>/&gt;/g;
		$s =~ s/ /\x{a0}/g; # not every program that draws keeps spaces
		$body .= sprintf qq(<text x="%.1f" y="%d" textLength="%.1f"%s>%s</text>\n), $x, $y, $wide, $class && qq( class="$class"), $s;
		END {
			my $w = $cols * $cell + 24;
			printf qq(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d">\n), $w, $n * $row + 24, $w;
			print "<style>text{font:14px monospace;fill:#d8dee9}.p{fill:#8fbc5f;font-weight:bold}.t{fill:#101418}.f{fill:#7f8c98}</style>\n",
				"<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#101418\"/>\n", $body, "</svg>\n";
		}'
}

sweep() {
	local pid
	for pid in $(jobs -p); do kill "$pid" 2>/dev/null || :; done
	tm kill-server 2>/dev/null || :
	topo_down "$TOPO"
	rm -rf "$dir"
}

main() {
	[ "$(id -u)" = 0 ] || die "needs root, for network namespaces"
	for tool in tmux perl; do
		command -v "$tool" >/dev/null || die "needs $tool"
	done
	dir=$(mktemp -d /tmp/pfsync-picture.XXXXXX)
	mkdir "$dir/fw-a" "$dir/fw-b"
	trap sweep EXIT
	trap 'exit 130' INT TERM
	topo_up "pfsync-pic-$$"
	local host
	for host in fw-a fw-b; do
		topo_sysctl "$host" net.netfilter.nf_conntrack_acct=1
		quiet "$host" pfsyncctl pfsync0 syncdev eth2
	done
	for host in fw-a fw-b; do quiet "$host" pfsyncctl pfsync0 wait --timeout 30 2>/dev/null; done
	on server "$here/../bin/traffic" serve :80 2>/dev/null &
	until_true 10 "the server does not listen" listening
	capture
	draw >"$dir/svg"
	mv "$dir/svg" "${1:-$here/picture.svg}"
}

main "$@"
