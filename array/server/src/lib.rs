//! The array's control service: the control API over HTTPS, in front of the catalog.
