"""An actuated signal controller: eight phases in two rings, served as NTCIP 1202 over SNMP."""
