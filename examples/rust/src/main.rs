// SPDX-License-Identifier: BSD-2-Clause
//! Signs a message with a key in the TPM, using the crate tss-esapi: `sign NAME:CONF MESSAGE`.

use std::env;
use std::error::Error;
use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::structures::{
    EccPoint, EccScheme, HashScheme, MaxBuffer, Public, PublicBuilder, PublicEccParametersBuilder, Signature,
    SignatureScheme,
};
use tss_esapi::tcti_ldr::TctiNameConf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, name_conf, message] = &arguments[..] else { return Err("usage: sign NAME:CONF MESSAGE".into()) };
    let mut tpm = Context::new(name_conf.parse::<TctiNameConf>()?)?;

    let template = template()?;
    let key = tpm.execute_with_nullauth_session(|tpm| {
        tpm.create_primary(Hierarchy::Owner, template, None, None, None, None).map(|made| made.key_handle)
    })?;
    let mut hash = |message: &str| {
        let message = MaxBuffer::try_from(message.as_bytes())?;
        tpm.execute_without_session(|tpm| tpm.hash(message, HashingAlgorithm::Sha256, Hierarchy::Owner))
    };
    let (digest, ticket) = hash(message)?;
    let (another, _) = hash("another message")?;
    let signature = tpm.execute_with_nullauth_session(|tpm| {
        tpm.sign(key, digest.clone(), SignatureScheme::Null, ticket)
    })?;
    let Signature::EcDsa(parts) = &signature else { return Err("the signature has another scheme".into()) };
    for byte in parts.signature_r().value().iter().chain(parts.signature_s().value()) {
        print!("{byte:02x}");
    }
    println!();

    tpm.verify_signature(key, digest, signature.clone())?;
    if tpm.verify_signature(key, another, signature).is_ok() {
        return Err("the signature also verifies for another message".into());
    }
    Ok(tpm.flush_context(key.into())?)
}

/// Returns the template of a key for ECDSA with SHA-256.
fn template() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_sign_encrypt(true)
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .build()?;
    let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
    let parameters =
        PublicEccParametersBuilder::new_unrestricted_signing_key(scheme, EccCurve::NistP256).build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
