//! The RongCloud adapter.
