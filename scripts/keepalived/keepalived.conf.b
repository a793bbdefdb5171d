! keepalived.conf of firewall B, which takes over when A cannot.
!
! The example of pfsync(4): two firewalls share an outside and an inside
! address, and tell each other their states over a network of their own.
!
!                          outside
!      ----+-----------------------------+----  198.51.100.0/24
!          | eth0 .2                eth0 | .3   2001:db8:0:1::/64
!      +---+---+  eth2 .2   eth2 .3  +---+---+
!      |   A   +---------------------+   B   |  192.168.254.0/24, pfsync
!      +---+---+                     +---+---+
!          | eth1 .2                eth1 | .3   2001:db8:0:2::/64
!      ----+-----------------------------+----  192.168.1.0/24
!                          inside
!
! Shared are the addresses that end in 1: the world routes to the outer one, and
! NAT translates to it; the inner one is the gateway of the inside.
!
! pfsync needs one line on each firewall, in /etc/hostname.pfsync0:
!
!     syncdev eth2
!
! Nothing here runs a script.  The other firewall's file differs in router_id
! and priority only.  Where the rules drop what they do not know, VRRP (protocol
! 112) must pass on eth0 and eth1.  Check with: keepalived -t -f FILE

global_defs {
    router_id fw-b
    ! Version 3: fractions of a second, and IPv6.
    vrrp_version 3
    enable_script_security
    ! A tenth of a second is short on a busy machine: this goes before all else.
    vrrp_rt_priority 50
    ! Microseconds.  Of its own accord keepalived has itself killed after 10 ms of
    ! work at a stretch, which a takeover can need on a busy machine, and is away
    ! for 8 seconds, or 16.
    vrrp_rlimit_rttime 100000
}

! pfsyncd writes one number into this file: how much less than others this
! firewall should be master.  0 if its states are what the peers have, 240 while
! it fetches them, 1 if the link to them is dead (pfsyncd(8)).  Where it has not
! said anything yet it is 240 too: no firewall is to be the master of connections
! that it does not know while another knows them.
!
! The directory must be there when keepalived starts, else the file is forgotten
! for good: tmpfiles.d/pfsync.conf, or the init script, sees to that.
track_file pfsync0 {
    file /run/pfsync/pfsync0.demotion
    weight -1
    init_file 240
}

! The same by hand: on the master, `echo 100 >/run/pfsync/hand.demotion` has the
! other take over, and `echo 0 >/run/pfsync/hand.demotion` lets it come back.
track_file hand {
    file /run/pfsync/hand.demotion
    weight -1
    init_file 0
}

! A firewall with one side only is none: all four go together.
vrrp_sync_group firewall {
    group {
        carp0
        carp0_6
        carp1
        carp1_6
    }
    ! The files are tracked here.  In an instance that belongs to a group keepalived
    ! ignores a weight, and says so in its log only.
    sync_group_tracking_weight
    track_file {
        pfsync0 weight -1
        hand weight -1
    }
    ! Not tracked is eth2: a dead sync link is no reason to change the master.
}

! The outside: carp0 of the example,
! ifconfig carp0 198.51.100.1 vhid 1 advskew 100 carpdev sis0
vrrp_instance carp0 {
    interface eth0
    virtual_router_id 1
    ! A has 200.  The difference is more than a dead sync link counts, and
    ! less than a transfer of states does.
    priority 190
    ! Three of these missed, 0.3 s, and the other takes over.
    advert_int 0.1
    ! Both begin as backups.  A preempts, which is the default: when it is back, and
    ! the file above says that it has the states.
    state BACKUP
    virtual_ipaddress {
        198.51.100.1/24
    }
}

! The same for IPv6: VRRP speaks one family an instance, and wants a link-local
! address first.
vrrp_instance carp0_6 {
    interface eth0
    virtual_router_id 1
    priority 190
    advert_int 0.1
    state BACKUP
    virtual_ipaddress {
        fe80::1:1/64
        2001:db8:0:1::1/64
    }
}

! The inside: carp1 of the example,
! ifconfig carp1 192.168.1.1 vhid 2 advskew 100 carpdev sis1
vrrp_instance carp1 {
    interface eth1
    virtual_router_id 2
    priority 190
    advert_int 0.1
    state BACKUP
    virtual_ipaddress {
        192.168.1.1/24
    }
}

! The same for IPv6.
vrrp_instance carp1_6 {
    interface eth1
    virtual_router_id 2
    priority 190
    advert_int 0.1
    state BACKUP
    virtual_ipaddress {
        fe80::2:1/64
        2001:db8:0:2::1/64
    }
}
