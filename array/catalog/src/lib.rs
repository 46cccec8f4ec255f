//! Who is who on the array: LUN names, hosts, mappings, shadow sets and their leases.
