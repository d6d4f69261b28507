//! Lists and campaigns, each for the session that it belongs to.

use super::arrival::Arrival;
use super::homes::{Homes, Thing};
use super::incoming::Belongs;
use super::report::Report;
use crate::domain::Gateway;
use crate::domain::campaign::imported::{ImportedCampaign, IncomingCampaign};
use crate::domain::list::imported::{ImportedList, IncomingList};

impl Gateway {
    /// Hands recipient lists out.
    pub(super) fn hand_out_lists(
        &self,
        lists: Vec<(Belongs, IncomingList)>,
        homes: &Homes,
        arrivals: &mut [Arrival],
        report: &mut Report,
    ) {
        let now = self.clock().now();
        for (belongs, list) in lists {
            let thing = Thing {
                about: list.about(),
                said: list.said(),
                belongs: &belongs,
            };
            let list = ImportedList::of(list, now);
            let bytes = list.bytes();
            if let Some(home) = homes.give(thing, arrivals, |room| room.take_list(bytes), report) {
                home.lists.push(list);
            }
        }
    }

    /// Hands campaigns out.
    pub(super) fn hand_out_campaigns(
        &self,
        campaigns: Vec<(Belongs, IncomingCampaign)>,
        homes: &Homes,
        arrivals: &mut [Arrival],
        report: &mut Report,
    ) {
        let now = self.clock().now();
        for (belongs, campaign) in campaigns {
            let thing = Thing {
                about: campaign.about(),
                said: campaign.said(),
                belongs: &belongs,
            };
            let campaign = ImportedCampaign::of(campaign, &self.ids, now);
            let bytes = campaign.bytes();
            let fits = |room: &mut super::room::Room| room.take_campaign(bytes);
            if let Some(home) = homes.give(thing, arrivals, fits, report) {
                home.campaigns.push(campaign);
            }
        }
    }
}
