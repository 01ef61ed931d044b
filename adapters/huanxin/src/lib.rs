//! The Huanxin (Easemob) adapter.
