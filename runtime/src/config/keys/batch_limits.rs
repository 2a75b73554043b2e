//! How much is done at one time for tasks that wait for it.

use super::super::value::Kind;
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::AgentConfig;
    vec![
        Key::new(
            AgentConfig,
            "batch_limits.embeddings",
            Kind::AutoOr { min: 1, max: 4096 },
            "64",
            "Texts that go to the embedding model at once: what is more is split; auto is embedding.batch_size",
            |c, v| c.batch_limits.embeddings = v.unless_auto(),
        ),
        Key::new(
            AgentConfig,
            "batch_limits.llm_inference",
            Kind::AutoOr { min: 1, max: 4096 },
            "8",
            "Answers that are made at one time; the others wait, fairly between tenants; auto is 8",
            |c, v| c.batch_limits.llm_inference = v.unless_auto(),
        ),
        Key::new(
            AgentConfig,
            "batch_limits.matrix_operations",
            Kind::AutoOr { min: 1, max: 1_000_000 },
            "5000",
            "Rows and columns of a product that are computed at once: what is more is split; auto is as many as suit the machine",
            |c, v| c.batch_limits.matrix_operations = v.unless_auto(),
        ),
    ]
}
