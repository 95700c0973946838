"""NTCIP 1202 over SNMP."""
