//! What tensors are made of.

use bytemuck::Pod;
use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// IEEE binary32.
    Float32,
    /// IEEE binary64.
    Float64,
    /// IEEE binary16: stored so, computed in binary32.
    Float16,
    /// The upper half of a binary32: stored so, computed in binary32.
    Bfloat16,
}

impl ElementType {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            ElementType::Float64 => 8,
            ElementType::Float32 => 4,
            ElementType::Float16 | ElementType::Bfloat16 => 2,
        }
    }

    /// As WIT has it.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::Float32 => "float32",
            ElementType::Float64 => "float64",
            ElementType::Float16 => "float16",
            ElementType::Bfloat16 => "bfloat16",
        }
    }
}

/// A number that tensors are made of. What is computed of single elements is computed in binary64 and rounded: for sums
/// and products of two binary32 or binary64 that is the result that IEEE wants; a half may be rounded twice, by way of
/// binary32.
pub trait Element: Pod + Send + Sync {
    /// Bits of its significand.
    const DIGITS: u32;

    /// The same number.
    fn to_f64(self) -> f64;

    /// The same number, or the nearest.
    fn to_f32(self) -> f32;

    /// The nearest one.
    fn from_f64(number: f64) -> Self;
}

impl Element for f32 {
    const DIGITS: u32 = 24;

    fn to_f64(self) -> f64 {
        self.into()
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn from_f64(number: f64) -> f32 {
        number as f32
    }
}

impl Element for f64 {
    const DIGITS: u32 = 53;

    fn to_f64(self) -> f64 {
        self
    }

    fn to_f32(self) -> f32 {
        self as f32
    }

    fn from_f64(number: f64) -> f64 {
        number
    }
}

impl Element for f16 {
    const DIGITS: u32 = 11;

    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }

    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    fn from_f64(number: f64) -> f16 {
        f16::from_f64(number)
    }
}

impl Element for bf16 {
    const DIGITS: u32 = 8;

    fn to_f64(self) -> f64 {
        bf16::to_f64(self)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    fn from_f64(number: f64) -> bf16 {
        bf16::from_f64(number)
    }
}

/// An expression in which `$T` is the Rust type of an [`ElementType`].
macro_rules! with_element {
    ($element:expr, $T:ident => $body:expr) => {
        match $element {
            $crate::backend::tensor::ElementType::Float32 => {
                type $T = f32;
                $body
            }
            $crate::backend::tensor::ElementType::Float64 => {
                type $T = f64;
                $body
            }
            $crate::backend::tensor::ElementType::Float16 => {
                type $T = half::f16;
                $body
            }
            $crate::backend::tensor::ElementType::Bfloat16 => {
                type $T = half::bf16;
                $body
            }
        }
    };
}
pub(super) use with_element;
