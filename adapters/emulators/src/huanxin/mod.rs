//! Huanxin (环信, Easemob) as the network shows it.
