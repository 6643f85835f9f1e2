pub mod private_postgres;
pub mod source;
