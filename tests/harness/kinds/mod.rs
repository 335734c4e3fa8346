//! The kinds of cases, one file each.

use libtest_mimic::Trial;

mod api_server;
mod attack;
mod cert;
mod chart;
mod check;
mod cli;
mod controller;
mod data_plane;
mod docs;
mod fuzz;
mod gateway_status;
mod http;
mod k8s;
mod kube_rs;
mod kubectl;
mod provenance;
mod remote;
mod repl;
mod script;
mod secrets;
mod serve;
mod served_state;
mod ssa;
mod template;
mod validation;
mod yaml;

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    [
        api_server::trials(),
        attack::trials(),
        cert::trials(),
        chart::trials(),
        check::trials(),
        cli::trials(),
        controller::trials(),
        data_plane::trials(),
        docs::trials(),
        fuzz::trials(),
        gateway_status::trials(),
        http::trials(),
        k8s::trials(),
        kube_rs::trials(),
        kubectl::trials(),
        provenance::trials(),
        remote::trials(),
        repl::trials(),
        script::trials(),
        secrets::trials(),
        serve::trials(),
        served_state::trials(),
        ssa::trials(),
        template::trials(),
        validation::trials(),
        yaml::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
