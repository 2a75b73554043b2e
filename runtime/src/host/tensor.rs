//! `omnimind:runtime/tensor`: tensors that live on the host.
//!
//! Everything that a call will take is set aside before anything is done: bytes of the result, and operations.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, WasmList};

use super::lent::{Account, Lent};
use super::{HostCtx, HostView};
use crate::backend::tensor::{
    Device, ElementType, Error as Failed, Invalid, Operation, Output, Precision, Shape, Tensor, check_k,
    top_k_flops,
};
use crate::bindings::omnimind::runtime::tensor as wit;
use crate::bindings::omnimind::runtime::types::Error;
use crate::limits::Budget;
use crate::task::Capability;

/// The interface, where two of its functions are added by hand.
const INTERFACE: &str = "omnimind:runtime/tensor@0.1.0";

struct TensorView<'a> {
    account: Account<'a>,
    table: &'a mut ResourceTable,
    /// Whether the guest may see how the machine is.
    sees_machine: bool,
}

struct HasTensors;

impl HasData for HasTensors {
    type Data<'a> = TensorView<'a>;
}

type Made = wasmtime::Result<Result<Resource<Tensor>, Error>>;

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match failed {
            Failed::Invalid(Invalid(rule)) => Error::InvalidInput(rule),
            Failed::NoMemory { .. } => Error::Unavailable(failed.to_string()),
            // Nobody sees it: the guest has ended too.
            Failed::Stopped(crate::backend::work::Stopped::Ended) => Error::Cancelled,
            Failed::Stopped(_) | Failed::Internal(_) => Error::Internal(failed.to_string()),
        }
    }
}

impl From<Invalid> for Error {
    fn from(Invalid(rule): Invalid) -> Error {
        Error::InvalidInput(rule)
    }
}

impl Account<'_> {
    /// Sets aside what a tensor of that shape takes.
    ///
    /// Every tensor begins here, so whoever has one was granted it.
    pub fn output(&self, shape: Shape, element: ElementType) -> Result<Output, Error> {
        self.check(Capability::Tensor)?;
        let bytes = shape.bytes(element) as u64;
        let held = self.ledger.hold(Budget::TensorBytes, bytes)?;
        let taken = self.lent.memory.hold(bytes).ok_or_else(|| {
            self.ledger.refused_by_machine(bytes);
            Error::Unavailable(format!("the machine is short of memory: {bytes} bytes were refused"))
        })?;
        Ok(Output { shape, element, held: Arc::new(held.beside(taken)) })
    }

    fn new_output(&self, sizes: Vec<u32>, element: wit::ElementType) -> Result<Output, Error> {
        self.output(Shape::new(sizes)?, element.into())
    }

    async fn compute(&self, operation: Operation) -> Result<Tensor, Error> {
        let (shape, element) = operation.result()?;
        // First what is given back where the other is refused.
        let output = self.output(shape, element)?;
        self.ledger.spend(Budget::TensorFlops, operation.flops())?;
        let Lent { backends, workers, .. } = self.lent;
        Ok(backends.tensor.compute(operation, output, &**workers).await?)
    }

    async fn largest(&self, of: Tensor, k: usize) -> Result<(Vec<u32>, Vec<f32>), Error> {
        self.ledger.spend(Budget::TensorFlops, top_k_flops(&of, k))?;
        let Lent { backends, workers, .. } = self.lent;
        Ok(backends.tensor.top_k(of, k, &**workers).await?)
    }
}

impl TensorView<'_> {
    fn get(&self, tensor: &Resource<Tensor>) -> wasmtime::Result<Tensor> {
        Ok(self.table.get(tensor)?.clone())
    }

    /// Hands a tensor to the guest.
    fn give(&mut self, made: Result<Tensor, Error>) -> Made {
        match super::told(self.account.ledger, made) {
            Ok(tensor) => Ok(Ok(self.table.push(tensor)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn computed(&mut self, operation: Operation) -> Made {
        let made = self.account.compute(operation).await;
        self.give(made)
    }
}

impl wit::HostTensor for TensorView<'_> {
    fn from_bytes(&mut self, sizes: Vec<u32>, element: wit::ElementType, data: Vec<u8>) -> Made {
        super::carry(self.account.ledger, (sizes.len() * 4 + data.len()) as u64)?;
        let output = self.account.new_output(sizes, element);
        let made = output.and_then(|output| Ok(self.account.lent.backends.tensor.adopt(output, data)?));
        self.give(made)
    }

    async fn random(&mut self, sizes: Vec<u32>, element: wit::ElementType, seed: u64) -> Made {
        super::carry(self.account.ledger, (sizes.len() * 4) as u64)?;
        match Shape::new(sizes) {
            Ok(shape) => self.computed(Operation::Random { shape, element: element.into(), seed }).await,
            Err(invalid) => self.give(Err(invalid.into())),
        }
    }

    fn zeros(&mut self, sizes: Vec<u32>, element: wit::ElementType) -> Made {
        super::carry(self.account.ledger, (sizes.len() * 4) as u64)?;
        let output = self.account.new_output(sizes, element);
        let made = output.and_then(|output| Ok(self.account.lent.backends.tensor.zeros(output)?));
        self.give(made)
    }

    fn shape(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        let sizes = self.table.get(&tensor)?.shape.sizes().to_vec();
        super::carry(self.account.ledger, (sizes.len() * 4) as u64)?;
        Ok(sizes)
    }

    fn element_type(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<wit::ElementType> {
        Ok(self.table.get(&tensor)?.element.into())
    }

    fn device(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<wit::Device> {
        self.table.get(&tensor)?;
        Ok(self.account.lent.backends.tensor.device().into())
    }

    fn precision(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<wit::Precision> {
        let Precision::Highest = self.table.get(&tensor)?.precision;
        Ok(wit::Precision::Highest)
    }

    /// Never called: see [`write`].
    fn write(&mut self, _: Resource<Tensor>, _: u64, _: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        Ok(Err(Error::Internal("the function without a copy was to be linked".to_owned())))
    }

    fn read(
        &mut self,
        tensor: Resource<Tensor>,
        offset: u64,
        count: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let tensor = self.get(&tensor)?;
        let range = match tensor.elements(offset, count) {
            Ok(range) => range,
            Err(invalid) => return Ok(super::told(self.account.ledger, Err(invalid.into()))),
        };
        if let Err(error) = super::has_room(self.account.ledger, range.len() as u64) {
            return Ok(super::told(self.account.ledger, Err(error)));
        }
        super::carry(self.account.ledger, range.len() as u64)?;
        let read = self.account.lent.backends.tensor.read(&tensor, range).map_err(Error::from);
        Ok(super::told(self.account.ledger, read))
    }

    async fn matmul(
        &mut self,
        left: Resource<Tensor>,
        right: Resource<Tensor>,
        _at_least: wit::Precision,
    ) -> Made {
        let operation = Operation::Matmul(self.get(&left)?, self.get(&right)?);
        self.computed(operation).await
    }

    async fn transpose(&mut self, tensor: Resource<Tensor>) -> Made {
        let operation = Operation::Transpose(self.get(&tensor)?);
        self.computed(operation).await
    }

    async fn add(&mut self, left: Resource<Tensor>, right: Resource<Tensor>) -> Made {
        let operation = Operation::Add(self.get(&left)?, self.get(&right)?);
        self.computed(operation).await
    }

    async fn scale(&mut self, tensor: Resource<Tensor>, factor: f32) -> Made {
        let operation = Operation::Scale(self.get(&tensor)?, factor);
        self.computed(operation).await
    }

    async fn softmax(&mut self, tensor: Resource<Tensor>) -> Made {
        let operation = Operation::Softmax(self.get(&tensor)?);
        self.computed(operation).await
    }

    async fn normalize(&mut self, tensor: Resource<Tensor>) -> Made {
        let operation = Operation::Normalize(self.get(&tensor)?);
        self.computed(operation).await
    }

    async fn top_k(
        &mut self,
        tensor: Resource<Tensor>,
        k: u32,
    ) -> wasmtime::Result<Result<(Vec<u32>, Vec<f32>), Error>> {
        let of = self.get(&tensor)?;
        let k = usize::try_from(k).unwrap_or(usize::MAX);
        if let Err(invalid) = check_k(&of, k) {
            return Ok(super::told(self.account.ledger, Err(invalid.into())));
        }
        let found = (of.shape.elements() / of.shape.row()).saturating_mul(k) as u64;
        // In two lists, and before that in the making.
        if let Err(error) = super::has_room(self.account.ledger, found.saturating_mul(2 * 8)) {
            return Ok(super::told(self.account.ledger, Err(error)));
        }
        super::carry(self.account.ledger, found.saturating_mul(8))?;
        Ok(super::told(self.account.ledger, self.account.largest(of, k).await))
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<()> {
        self.table.delete(tensor)?;
        Ok(())
    }
}

impl wit::Host for TensorView<'_> {
    fn placement(&mut self) -> wasmtime::Result<(wit::Device, u64)> {
        let Account { lent, ledger } = self.account;
        let backend = &lent.backends.tensor;
        let of_machine = || backend.free_bytes().unwrap_or(u64::MAX).min(lent.memory.left());
        let most = match (lent.is_granted(Capability::Tensor), self.sees_machine) {
            // It can have none, and what the machine has is not its business.
            (false, _) => 0,
            (true, true) => of_machine(),
            (true, false) => u64::MAX,
        };
        Ok((backend.device().into(), ledger.remaining(Budget::TensorBytes).min(most)))
    }
}

impl From<wit::ElementType> for ElementType {
    fn from(element: wit::ElementType) -> ElementType {
        match element {
            wit::ElementType::Float32 => ElementType::Float32,
            wit::ElementType::Float64 => ElementType::Float64,
            wit::ElementType::Float16 => ElementType::Float16,
            wit::ElementType::Bfloat16 => ElementType::Bfloat16,
        }
    }
}

impl From<ElementType> for wit::ElementType {
    fn from(element: ElementType) -> wit::ElementType {
        match element {
            ElementType::Float32 => wit::ElementType::Float32,
            ElementType::Float64 => wit::ElementType::Float64,
            ElementType::Float16 => wit::ElementType::Float16,
            ElementType::Bfloat16 => wit::ElementType::Bfloat16,
        }
    }
}

impl From<Device> for wit::Device {
    fn from(device: Device) -> wit::Device {
        match device {
            Device::Cpu => wit::Device::Cpu,
        }
    }
}

fn view<T: HostView>(t: &mut T) -> TensorView<'_> {
    let HostCtx { lent, ledger, table, clock, .. } = t.host().call();
    TensorView { account: Account { lent, ledger }, table, sees_machine: clock.is_none() }
}

/// `write`, by hand: what is generated copies the guest's bytes once more on their way.
fn write<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (tensor, offset, data): (Resource<Tensor>, u64, WasmList<u8>),
) -> wasmtime::Result<Result<(), Error>> {
    let length = data.as_le_slice(&store).len();
    let TensorView { account, table, .. } = view(store.data_mut());
    super::carry(account.ledger, length as u64)?;
    let backend = account.lent.backends.tensor.clone();
    let place = table.get_mut(&tensor)?;
    let range = match place.bytes(offset, length) {
        Ok(range) => range,
        Err(invalid) => return Ok(super::told(account.ledger, Err(invalid.into()))),
    };
    // Out of the store, which has the guest's bytes too.
    let mut out = place.take();
    let written = backend.write(&mut out, range, data.as_le_slice(&store));
    *store.data_mut().host().table.get_mut(&tensor)? = out;
    let HostCtx { ledger, .. } = store.data_mut().host();
    Ok(super::told(ledger, written.map_err(Error::from)))
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasTensors>(linker, view)?;
    linker.allow_shadowing(true);
    linker
        .instance(INTERFACE)?
        .func_wrap("[method]tensor.write", |store, arguments| Ok((write::<T>(store, arguments)?,)))?;
    linker.allow_shadowing(false);
    Ok(())
}
